"""Recipe -> tasks, in a seeded order that can be saved, and what the model is shown of them.

Source -> read / hub / builtin -> Row -> mappings -> Draft -> Task | Demonstration | BadRow -> TaskStream
"""
