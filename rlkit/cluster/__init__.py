"""Ray at the edge: started and stopped, waited for with deadlines, its actors placed and replaced."""
