path "transit/sign/checkpoint" { capabilities = ["update"] }
