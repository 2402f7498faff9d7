"""In the guest, for `cargo xtask bench hotplug`: how long a modem takes to be known after it was plugged in.

From the return of the gadget's bind until our agent shows `modem_info`, or ModemManager's object is on the bus; in turn, the
other one stopped. MODEMFLEET is the program, ROUNDS how often. Prints `NAME SECONDS` for each, and as `kernel` how long of
that the kernel took to make the AT port: before it nobody can ask it anything.
"""

import http.client
import os
import re
import subprocess
import time

from bed import PROGRAM, bind, link, make, page, until

FLEET = f"""
gateway: gw
http: {{ listen: "127.0.0.1:9810" }}
queue: {{ path: /run/hotplug/queue }}
brokers: {{ lab: {{ url: "mqtt://broker.example.com:1883" }} }}
modems: {{ m: {{ match: {{ imei: "861234560000005" }}, sessions: {{ s: {{ broker: lab }} }} }} }}
"""


def ours():
    log = open("/run/hotplug/agent", "a")
    agent = subprocess.Popen([PROGRAM, "run", "--config", "/run/hotplug/fleet.yaml"], stdout=log, stderr=log)
    until("the agent", lambda: page("/healthz"))
    # One connection: what asks must not take the time of what is measured.
    metrics = http.client.HTTPConnection("127.0.0.1", 9810)

    def is_known():
        metrics.request("GET", "/metrics")
        return b"\nmodemfleet_modem_info{" in metrics.getresponse().read()

    is_known()
    bind(0, "dummy_udc.0")
    started = time.monotonic()
    until("modem_info", is_known)
    took = time.monotonic() - started
    metrics.close()
    print("kernel", round(port_made(started), 3), flush=True)
    agent.terminate()
    agent.wait()
    return took


def port_made(bound):
    """Seconds from a bind that returned at this time to the AT port, by the kernel's log."""
    log = subprocess.run(["dmesg"], capture_output=True, text=True, check=True).stdout
    made = [float(time) for time in re.findall(r"^\[ *([0-9.]+)\] .* now attached to ttyUSB2$", log, re.M)]
    return made[-1] - bound


def theirs():
    manager = subprocess.Popen(["ModemManager"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until("ModemManager", lambda: subprocess.run(["mmcli", "-L"], capture_output=True).returncode == 0)
    monitor = subprocess.Popen(["mmcli", "-M"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    time.sleep(1)  # it does not tell when it listens
    bind(0, "dummy_udc.0")
    started = time.monotonic()
    if not any("/ModemManager1/Modem/" in line for line in monitor.stdout):
        raise SystemExit("mmcli ended")
    took = time.monotonic() - started
    for process in monitor, manager:
        process.terminate()
        process.wait()
    return took


def main():
    os.makedirs("/run/hotplug")
    os.makedirs("/run/dbus")
    with open("/run/hotplug/fleet.yaml", "w") as fleet:
        fleet.write(FLEET)
    subprocess.run(["dbus-daemon", "--system", "--fork"], check=True)
    make(0)
    until("the port", lambda: os.path.exists(link(0)))
    modem = [PROGRAM, "sim", "--model", "sim7600", "--tty", "/dev/ttyGS2,/dev/ttyGS3", "--broker", "127.0.0.1:1"]
    subprocess.Popen(modem, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(int(os.environ["ROUNDS"])):
        for name, measured in ("modemfleet", ours), ("ModemManager", theirs):
            bind(0, "")
            until("the port to go", lambda: not os.path.exists(link(0)))
            time.sleep(1)  # the simulator opens its ttys again
            print(name, round(measured(), 3), flush=True)


main()
