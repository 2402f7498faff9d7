"""For tests/tests/e2e/mock.rs: an agent for which umockdev plays the kernel and udevd.

mock.py URL PROGRAM…: starts the program, plugs a SIMCom device in, pulls it out, and plugs it in again under other numbers;
then one of an id that no model has, which a file in the folder MODEMFLEET_MODELS and a reload make known. After each it
waits until the agent at URL says so, and prints the ports. Behind these is nothing: umockdev answers no question of a
terminal. What the program logs goes to standard error.
"""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request

import gi

gi.require_version("UMockdev", "1.0")
from gi.repository import UMockdev  # noqa: E402

LIMIT = 30
MODELS = """models:
  - like: sim7600
    cgmm: [ACME-4G]
    usb: [{ id: "1234:5678", at: 1 }]
"""
URL, *PROGRAM = sys.argv[1:]


def devices():
    """The devices that the agent sees; None while it does not listen."""
    try:
        with urllib.request.urlopen(URL + "/api/v1/devices") as answer:
            return json.load(answer)["devices"]
    except OSError:
        return None


def until(ports):
    """Waits until these are the ports that the agent sees, and prints them."""
    end = time.monotonic() + LIMIT
    while True:
        seen = devices()
        if seen is not None and [f"{port['tty']} {port['role']}" for device in seen for port in device["ports"]] == ports:
            print(*(ports or ["nothing"]), sep=", ", flush=True)
            return
        if time.monotonic() > end:
            raise SystemExit(f"waited in vain for {ports}: {seen}")
        time.sleep(0.02)


class Device:
    """A device as the kernel tells of it: itself, then its interfaces with their ttys, one by one."""

    def __init__(self, bed, first, usb_id=("1e0e", "9001")):
        self.bed = bed
        vendor, product = usb_id
        usb = self.add("usb", "1-1", None, {"idVendor": vendor, "idProduct": product}, "usb_device")
        self.paths = [usb]
        for number in range(4):
            interface = self.add("usb", f"1-1:1.{number}", usb, {"bInterfaceNumber": f"{number:02x}"}, "usb_interface")
            node = f"ttyUSB{first + number}"
            self.paths += [interface, self.add("tty", node, interface, {}, None)]

    def add(self, subsystem, name, parent, attributes, devtype):
        attributes = [text for pair in attributes.items() for text in pair]
        properties = ["DEVTYPE", devtype] if devtype else ["DEVNAME", "/dev/" + name]
        return self.bed.add_device(subsystem, name, parent, attributes, properties)

    def remove(self):
        for path in reversed(self.paths):
            self.bed.uevent(path, "remove")
            self.bed.remove_device(path)


def main():
    bed = UMockdev.Testbed.new()
    agent = subprocess.Popen(PROGRAM, env=dict(os.environ, UMOCKDEV_DIR=bed.get_root_dir()))
    try:
        until([])
        for first in 0, 4:
            device = Device(bed, first)
            roles = ["other", "other", "at", "secondary"]
            until([f"/dev/ttyUSB{first + number} {role}" for number, role in enumerate(roles)])
            device.remove()
            until([])
        Device(bed, 8, ("1234", "5678"))
        until([f"/dev/ttyUSB{8 + number} other" for number in range(4)])
        with open(os.path.join(os.environ["MODEMFLEET_MODELS"], "acme.yaml"), "w") as file:
            file.write(MODELS)
        agent.send_signal(signal.SIGHUP)
        roles = ["other", "at", "other", "other"]
        until([f"/dev/ttyUSB{8 + number} {role}" for number, role in enumerate(roles)])
    finally:
        agent.terminate()
        if agent.wait() != 0:
            raise SystemExit("the agent failed")


main()
