# Who may do what. Nobody here may remove a version of an object for good, change the bucket, or reach another bucket.
#   worker     reads all; writes, replaces and withdraws artifacts and episodes (versions stay); cannot touch films or models
#   trainer    reads all; writes models and data drops
#   reader     reads finished episodes and their reports
#   publisher  delivers films, promotes models, collects garbage
locals {
  bucket = aws_s3_bucket.store.arn

  # role -> who has it in the cluster (infra/kubernetes/manifests/service-account.yaml)
  service_accounts = {
    worker  = "dubflow-run"
    trainer = "dubflow-train"
  }

  # role -> who may take it by name
  trusted = {
    for name, arns in { reader = var.trusted_reader_arns, publisher = var.trusted_publisher_arns } : name => arns if length(arns) > 0
  }

  # role -> what it may read, write, and delete (a delete in a versioned bucket can be undone)
  rights = {
    worker = {
      read   = ["films/*", "artifacts/*", "episodes/*", "registry/*", "tmp/*"]
      write  = ["artifacts/*", "episodes/*", "tmp/*"]
      delete = ["artifacts/*", "episodes/*", "tmp/*"]
    }
    trainer = {
      read   = ["films/*", "artifacts/*", "episodes/*", "registry/*", "tmp/*"]
      write  = ["registry/*", "tmp/*"]
      delete = ["registry/tmp/*", "tmp/*"]
    }
    reader = {
      read   = ["episodes/*"]
      write  = []
      delete = []
    }
    publisher = {
      read   = ["films/*", "artifacts/*", "episodes/*", "registry/*", "tmp/*"]
      write  = ["films/*", "registry/*", "tmp/*"]
      delete = ["films/*", "artifacts/*", "registry/*", "tmp/*"]
    }
  }
}

data "aws_iam_policy_document" "rights" {
  for_each = local.rights

  # Of the whole bucket: without it S3 answers "forbidden" where an object is merely not there.
  statement {
    sid       = "List"
    actions   = ["s3:ListBucket", "s3:GetBucketLocation", "s3:ListBucketMultipartUploads"]
    resources = [local.bucket]
  }

  statement {
    sid       = "Read"
    actions   = ["s3:GetObject"]
    resources = [for prefix in each.value.read : "${local.bucket}/${prefix}"]
  }

  dynamic "statement" {
    for_each = length(each.value.write) > 0 ? [each.value.write] : []

    content {
      sid       = "Write"
      actions   = ["s3:PutObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"]
      resources = [for prefix in statement.value : "${local.bucket}/${prefix}"]
    }
  }

  dynamic "statement" {
    for_each = length(each.value.delete) > 0 ? [each.value.delete] : []

    content {
      sid       = "Withdraw"
      actions   = ["s3:DeleteObject", "s3:AbortMultipartUpload"]
      resources = [for prefix in statement.value : "${local.bucket}/${prefix}"]
    }
  }

  statement {
    sid       = "Key"
    actions   = length(each.value.write) > 0 ? ["kms:Decrypt", "kms:GenerateDataKey"] : ["kms:Decrypt"]
    resources = [aws_kms_key.store.arn]

    condition {
      test     = "StringEquals"
      variable = "kms:ViaService"
      values   = ["s3.${var.region}.amazonaws.com"]
    }
  }
}

resource "aws_iam_policy" "rights" {
  for_each = local.rights

  name   = "dubflow-${each.key}-${var.bucket_name}"
  policy = data.aws_iam_policy_document.rights[each.key].json
}

# Runs get their role from the node's agent, by the name of their service account. No key exists that could be copied.
resource "aws_iam_role" "pods" {
  for_each = local.service_accounts

  name               = "dubflow-${each.key}-${var.bucket_name}"
  assume_role_policy = data.aws_iam_policy_document.trust_pods.json
}

data "aws_iam_policy_document" "trust_pods" {
  statement {
    actions = ["sts:AssumeRole", "sts:TagSession"]

    principals {
      type        = "Service"
      identifiers = ["pods.eks.amazonaws.com"]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [data.aws_caller_identity.current.account_id]
    }
  }
}

resource "aws_eks_pod_identity_association" "pods" {
  for_each = local.service_accounts

  cluster_name    = var.cluster_name
  namespace       = var.namespace
  service_account = each.value
  role_arn        = aws_iam_role.pods[each.key].arn
}

resource "aws_iam_role_policy_attachment" "pods" {
  for_each = local.service_accounts

  role       = aws_iam_role.pods[each.key].name
  policy_arn = aws_iam_policy.rights[each.key].arn
}

# People and services take these two by name; with nobody named, nobody can.
resource "aws_iam_role" "people" {
  for_each = local.trusted

  name               = "dubflow-${each.key}-${var.bucket_name}"
  assume_role_policy = data.aws_iam_policy_document.trust_people[each.key].json
}

data "aws_iam_policy_document" "trust_people" {
  for_each = local.trusted

  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "AWS"
      identifiers = each.value
    }
  }
}

resource "aws_iam_role_policy_attachment" "people" {
  for_each = aws_iam_role.people

  role       = each.value.name
  policy_arn = aws_iam_policy.rights[each.key].arn
}
