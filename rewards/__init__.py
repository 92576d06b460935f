"""The built-in reward parts. Like any user's plugins, they import only what `rlkit` exports."""
