"""The built-in reward parts: plugins like anybody's, which import only what `rlkit` exports."""
