# The example of `iacq demo`: it needs no provider and no cloud account.

terraform {
  required_version = ">= 1.4"
}

variable "environment" {
  description = "Name of the environment that is pretended to be built."
  type        = string
  default     = "demo"
}

variable "subnets" {
  description = "Subnets of the network, by name."
  type        = map(string)
  default = {
    private = "10.0.1.0/24"
    public  = "10.0.2.0/24"
  }
}

resource "terraform_data" "network" {
  input = {
    name = "${var.environment}-network"
    cidr = "10.0.0.0/16"
  }
}

resource "terraform_data" "subnet" {
  for_each = var.subnets

  input = {
    name    = "${terraform_data.network.output.name}-${each.key}"
    cidr    = each.value
    network = terraform_data.network.id
  }
}

resource "terraform_data" "service" {
  input            = "${var.environment}-service"
  triggers_replace = [for subnet in terraform_data.subnet : subnet.id]
}

output "network" {
  description = "Name of the network."
  value       = terraform_data.network.output.name
}

output "subnets" {
  description = "Names of the subnets."
  value       = sort([for subnet in terraform_data.subnet : subnet.output.name])
}
