# dubflow on AWS: a bucket, who may do what in it, and GPU nodes that cost nothing while nobody dubs. The cluster itself and its network are
# yours; docs/kubernetes.md says how this goes together. Checked offline by `terraform fmt -check` and a parse of every file.
terraform {
  required_version = "~> 1.11"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 6.20"
    }
  }
}

provider "aws" {
  region = var.region

  default_tags {
    tags = merge(var.tags, { application = "dubflow" })
  }
}

data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}
