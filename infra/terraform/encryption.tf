# One key for the bucket and the nodes' disks: who may not use it sees neither films nor faces, whatever else they are allowed.
resource "aws_kms_key" "store" {
  description             = "dubflow: ${var.bucket_name}"
  enable_key_rotation     = true
  deletion_window_in_days = 30
  policy                  = data.aws_iam_policy_document.key.json
}

resource "aws_kms_alias" "store" {
  name          = "alias/dubflow-${var.bucket_name}"
  target_key_id = aws_kms_key.store.key_id
}

data "aws_iam_policy_document" "key" {
  # The account decides by its own policies, below in roles.tf. Without this statement nobody could ever change the key again.
  statement {
    sid       = "Account"
    actions   = ["kms:*"]
    resources = ["*"]

    principals {
      type        = "AWS"
      identifiers = ["arn:${data.aws_partition.current.partition}:iam::${data.aws_caller_identity.current.account_id}:root"]
    }
  }

  # Disks of nodes are made by the service that scales the group.
  statement {
    sid       = "NodeDisks"
    actions   = ["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:DescribeKey"]
    resources = ["*"]

    principals {
      type        = "AWS"
      identifiers = [local.autoscaling_role_arn]
    }
  }

  statement {
    sid       = "NodeDiskGrants"
    actions   = ["kms:CreateGrant"]
    resources = ["*"]

    principals {
      type        = "AWS"
      identifiers = [local.autoscaling_role_arn]
    }

    condition {
      test     = "Bool"
      variable = "kms:GrantIsForAWSResource"
      values   = ["true"]
    }
  }
}

locals {
  autoscaling_role_arn = join("", [
    "arn:${data.aws_partition.current.partition}:iam::${data.aws_caller_identity.current.account_id}",
    ":role/aws-service-role/autoscaling.amazonaws.com/AWSServiceRoleForAutoScaling",
  ])
}
