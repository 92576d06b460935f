"""Everything about Ray: starts and stops it, calls actors with deadlines, places and replaces them."""
