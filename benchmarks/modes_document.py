NAMES=("ring", "grid", "double-ring", "swiss-roll", "heavy-centre")
def write(records): pass
