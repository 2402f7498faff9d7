"""Holds dashboards against Grafana's own types: `check.py FOLDER`.

Needs the package grafana-foundation-sdk. Its classes are made from Grafana's schema: what they read of a
dashboard and write again must be all that the dashboard says.
"""

import json
import pathlib
import sys

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard


def lost(said, read, where):
    """What is said and was not read, by its place. Nulls say nothing."""
    if isinstance(said, dict) and isinstance(read, dict):
        for key, value in said.items():
            if value is None:
                continue
            if key not in read:
                yield f"{where}.{key}"
            else:
                yield from lost(value, read[key], f"{where}.{key}")
    elif isinstance(said, list) and isinstance(read, list):
        if len(said) != len(read):
            yield f"{where}: {len(said)} entries, {len(read)} read"
        for at, (one, other) in enumerate(zip(said, read)):
            yield from lost(one, other, f"{where}[{at}]")
    elif said != read:
        yield f"{where}: {said!r} read as {read!r}"


def main():
    register_default_plugins()
    faults = []
    for path in sorted(pathlib.Path(sys.argv[1]).glob("*.json")):
        said = json.loads(path.read_text())
        read = json.loads(json.dumps(Dashboard.from_json(said), cls=JSONEncoder))
        faults += [f"{path.name}: {fault}" for fault in lost(said, read, "dashboard")]
    print("\n".join(faults))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
