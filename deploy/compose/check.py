"""Reads compose.yml: its parts fit together, it gives no rights away, and nobody but the gateway reaches the server.

Run by deploy/check-manifests. Says each fault on stderr, and ends with 1 if there is one. Not checked: the file against the
schema of the Compose Specification.
"""

import pathlib
import sys

import yaml

HERE = pathlib.Path(__file__).parent
faults = []


def expect(holds, what):
    if not holds:
        faults.append(f"compose.yml: {what}")


compose = yaml.safe_load((HERE / "compose.yml").read_text())
services = compose["services"]
for name, service in services.items():
    expect(service.get("read_only") and service.get("cap_drop") == ["ALL"], f"{name} may write to its root, or keeps rights")
    expect("no-new-privileges:true" in service.get("security_opt", []), f"{name} may gain rights")
    expect(set(service.get("networks", [])) <= set(compose["networks"]), f"{name} names a network that is not there")
    for volume in service.get("volumes", []):
        source = volume.split(":")[0]
        if source.startswith("."):
            expect((HERE / source).is_file(), f"{name} mounts {source}, which is not there")
        else:
            expect(source in compose["volumes"], f"{name} mounts {source}, which is no volume")
    for other in service.get("depends_on", []):
        expect(other in services, f"{name} depends on {other}, which is not there")

server = services["server"]
expect("ports" not in server and "network_mode" not in server, "the server is reached from outside")
expect(all(compose["networks"][n]["internal"] for n in server["networks"]), "the server's network leads outside")
beside = {name for name, s in services.items() if set(s.get("networks", [])) & set(server["networks"])}
expect(beside == {"gateway", "server"}, f"the server is reached by {beside}")

for line in faults:
    print(line, file=sys.stderr)
if faults:
    sys.exit(1)
print(f"{len(services)} services of compose.yml fit together, and only the gateway reaches the server")
