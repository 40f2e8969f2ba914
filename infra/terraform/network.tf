# The store's own door inside the network: runs reach it there, so they need no way to the internet.
data "aws_subnet" "private" {
  for_each = toset(var.private_subnet_ids)

  id = each.value
}

resource "aws_security_group" "store_endpoint" {
  name        = "dubflow-store-${var.bucket_name}"
  description = "HTTPS to the store from the private subnets"
  vpc_id      = var.vpc_id
}

resource "aws_vpc_security_group_ingress_rule" "store_endpoint" {
  for_each = data.aws_subnet.private

  security_group_id = aws_security_group.store_endpoint.id
  description       = "HTTPS from ${each.key}"
  cidr_ipv4         = each.value.cidr_block
  from_port         = 443
  to_port           = 443
  ip_protocol       = "tcp"
}

resource "aws_vpc_endpoint" "store" {
  vpc_id              = var.vpc_id
  service_name        = "com.amazonaws.${var.region}.s3"
  vpc_endpoint_type   = "Interface"
  subnet_ids          = var.private_subnet_ids
  security_group_ids  = [aws_security_group.store_endpoint.id]
  private_dns_enabled = true
  policy              = data.aws_iam_policy_document.endpoint.json

  dns_options {
    private_dns_only_for_inbound_resolver_endpoint = false
  }
}

# Through this door only our bucket can be reached, and those that hold the images' layers.
data "aws_iam_policy_document" "endpoint" {
  statement {
    actions   = ["s3:*"]
    resources = [aws_s3_bucket.store.arn, "${aws_s3_bucket.store.arn}/*"]

    principals {
      type        = "*"
      identifiers = ["*"]
    }
  }

  statement {
    actions   = ["s3:GetObject"]
    resources = ["arn:${data.aws_partition.current.partition}:s3:::prod-${var.region}-starport-layer-bucket/*"]

    principals {
      type        = "*"
      identifiers = ["*"]
    }
  }
}
