"""YAML and overrides -> `Recipe`, checked before anything heavy is imported; `plan` says what it will do."""
