"""What Debian's python3-uhashring 2.1 answers to ketama_scenarios.txt: see ketama_fixtures.js."""

import pathlib

from uhashring import HashRing

for line in (pathlib.Path(__file__).parent / "ketama_scenarios.txt").read_text().splitlines():
    labels, replicas, *steps = line.split()
    ring = HashRing([], hash_fn="ketama", vnodes=int(labels), replicas=int(replicas))
    names = []
    for step in steps:
        name, _, weight = step[1:].partition("=")
        if step[0] == "+":
            ring.add_node(name, {"weight": int(weight)})
            if name not in names:
                names.append(name)
        else:
            ring.remove_node(name)
    keys = [f"key-{i}" for i in range(1200)] + [f"{name}-{i}" for name in names for i in (0, 1)]

    def letter(name):
        n = names.index(name)
        return chr(n + (33 if n < 1 else 34 if n < 58 else 35))

    print(f'"uhashring {line}|{ring.size}|{"".join(letter(ring.get_node(k)) for k in keys)}",')
