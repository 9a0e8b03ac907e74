"""Which programs are the servers of scripts/servers.sh."""

import functools
import subprocess

from peers import ROOT

from server import PROGRAM, Server


@functools.cache
def program_of(name):
    """The program of a server of scripts/servers.sh: this machine's where it is one."""
    with Server(module=False) as server:
        if server.version().lower().replace(" ", "-").startswith(f"{name}."):
            return PROGRAM
    ran = subprocess.run([ROOT / "scripts" / "servers.sh", "fetch", name], capture_output=True, text=True, check=False)
    if ran.returncode:
        print(f"{name} is not measured: {ran.stderr.strip().splitlines()[-1:]}", flush=True)
        return None
    return ran.stdout.split()[2]


def there(names):
    """The programs of those that can be had."""
    return [program for name in names if (program := program_of(name))]
