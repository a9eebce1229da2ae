path "transit/keys/reader" { capabilities = ["read"] }
path "transit/decrypt/reader" { capabilities = ["update"] }
