"""In the guest, for the programs that measure there: plugging, waiting, and the agent's pages."""

import os
import subprocess
import time
import urllib.request

PROGRAM = os.environ["MODEMFLEET"]
LIMIT = 120


def make(modem):
    """Makes the gadget of a modem and plugs it in."""
    subprocess.run(["bash", "-euc", f". /run/bed/gadget.sh; plug {modem}"], check=True)


def bind(modem, name):
    """Plugs a gadget in at this controller; an empty name pulls it out."""
    with open(f"/sys/kernel/config/usb_gadget/modem{modem}/UDC", "w") as udc:
        udc.write(name + "\n")


def link(modem):
    return f"/dev/serial/by-path/platform-dummy_hcd.{modem}-usb-0:1:1.2-port0"


def until(what, holds):
    end = time.monotonic() + LIMIT
    while not holds():
        if time.monotonic() > end:
            raise SystemExit(f"waited in vain for {what}")
        time.sleep(0.005)


def page(path, body=None):
    """The answer of the agent; empty while it does not listen."""
    try:
        with urllib.request.urlopen("http://127.0.0.1:9810" + path, body) as answer:
            return answer.read().decode()
    except OSError:
        return ""
