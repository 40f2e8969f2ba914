output "bucket" {
  description = "For DUBFLOW_REGISTRY, DUBFLOW_ARTIFACTS and the films' and episodes' URIs."
  value       = aws_s3_bucket.store.bucket
}

output "kms_key_arn" {
  description = "For DUBFLOW_S3_SSE_KMS_KEY_ID; the bucket uses it anyway."
  value       = aws_kms_key.store.arn
}

output "store_cidr_blocks" {
  description = "Where the store is, for the network policy `runs`."
  value       = sort([for subnet in data.aws_subnet.private : subnet.cidr_block])
}

output "role_arns" {
  description = "Roles by name. Pods take theirs by their service account; reader and publisher are there if somebody is trusted with them."
  value       = { for name, role in merge(aws_iam_role.pods, aws_iam_role.people) : name => role.arn }
}

output "gpu_node_group" {
  description = "The node group that shrinks to nothing."
  value       = aws_eks_node_group.gpu.node_group_name
}
