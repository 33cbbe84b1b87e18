terraform {
  backend "s3" {
    bucket       = "trial" # run adds a key
    use_lockfile = true

    use_path_style              = true
    skip_requesting_account_id  = true
    skip_credentials_validation = true
  }
}

# An apply that takes longer than the first session lives, and saves its state at the end.
resource "terraform_data" "slow" {
  provisioner "local-exec" {
    command = "sleep 55"
  }
}
