"""Does not compile."""

def app(:
