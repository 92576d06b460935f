"""Math answers: text -> `normal` -> `lexer` -> `parser` -> a tree of `Node` -> `compare`. Nothing is ever executed."""
