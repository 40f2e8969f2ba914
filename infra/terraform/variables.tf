variable "region" {
  description = "AWS region of the bucket and the nodes."
  type        = string
}

variable "bucket_name" {
  description = "Name of the bucket: films/, artifacts/, episodes/, registry/ and tmp/ live in it."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$", var.bucket_name))
    error_message = "3 to 63 lower-case letters, digits and hyphens."
  }
}

variable "kept_versions_days" {
  description = "For how long a replaced or deleted object can be brought back."
  type        = number
  default     = 30
}

variable "cluster_name" {
  description = "An EKS cluster that exists, with the EKS Pod Identity Agent add-on, the EBS CSI driver and a cluster autoscaler."
  type        = string
}

variable "vpc_id" {
  description = "The cluster's network."
  type        = string
}

variable "private_subnet_ids" {
  description = "Subnets without a way from the internet: nodes and the store's endpoint go there. One for each availability zone."
  type        = list(string)

  validation {
    condition     = length(var.private_subnet_ids) > 0
    error_message = "At least one subnet."
  }
}

variable "namespace" {
  description = "Kubernetes namespace of infra/kubernetes/manifests."
  type        = string
  default     = "dubflow"
}

variable "gpu_instance_types" {
  description = "Nodes with one NVIDIA card and at least 16 processors: decoding, faces and encoding need them more than the card (docs/sizing.md)."
  type        = list(string)
  default     = ["g6.8xlarge", "g5.8xlarge"]
}

variable "gpu_nodes_at_most" {
  description = "How many GPU nodes a night may take. The group shrinks to none by itself."
  type        = number
  default     = 8
}

variable "gpu_capacity_type" {
  description = "SPOT is cheaper and may be taken away: an evicted run is started again and finds what it had finished. ON_DEMAND for an air date."
  type        = string
  default     = "ON_DEMAND"

  validation {
    condition     = contains(["SPOT", "ON_DEMAND"], var.gpu_capacity_type)
    error_message = "SPOT or ON_DEMAND."
  }
}

variable "gpu_node_disk_gib" {
  description = "The node's own disk: images and temporary files. Work folders are volumes of their own."
  type        = number
  default     = 200
}

variable "trusted_reader_arns" {
  description = "Who may take the reader's role: people or services that watch reports and finished episodes."
  type        = list(string)
  default     = []
}

variable "trusted_publisher_arns" {
  description = "Who may take the publisher's role: promotes models, delivers films in, collects garbage."
  type        = list(string)
  default     = []
}

variable "tags" {
  description = "More tags for everything."
  type        = map(string)
  default     = {}
}
