"""In the guest, for `cargo xtask bench hotplug`: how long a modem takes to be known after it was plugged in.

From the return of the gadget's bind until our agent shows `modem_info`, or ModemManager's object is on the bus; in turn, the
other one stopped. MODEMFLEET is the program, ROUNDS how often. Prints `NAME SECONDS` for each.
"""

import os
import subprocess
import time
import urllib.request

PROGRAM = os.environ["MODEMFLEET"]
LINK = "/dev/serial/by-path/platform-dummy_hcd.0-usb-0:1:1.2-port0"
GADGET = "/sys/kernel/config/usb_gadget/modem0/UDC"
LIMIT = 60
FLEET = f"""
gateway: gw
http: {{ listen: "127.0.0.1:9810" }}
queue: {{ path: /run/hotplug/queue }}
brokers: {{ lab: {{ url: "mqtt://broker.example.com:1883" }} }}
modems: {{ m: {{ match: {{ imei: "861234560000005" }}, sessions: {{ s: {{ broker: lab }} }} }} }}
"""


def bind(name):
    with open(GADGET, "w") as udc:
        udc.write(name + "\n")


def until(holds):
    end = time.monotonic() + LIMIT
    while not holds():
        if time.monotonic() > end:
            raise SystemExit("waited in vain")
        time.sleep(0.005)


def page(path):
    try:
        with urllib.request.urlopen("http://127.0.0.1:9810" + path) as answer:
            return answer.read().decode()
    except OSError:
        return ""


def ours():
    log = open("/run/hotplug/agent", "a")
    agent = subprocess.Popen([PROGRAM, "run", "--config", "/run/hotplug/fleet.yaml"], stdout=log, stderr=log)
    until(lambda: page("/healthz"))
    bind("dummy_udc.0")
    started = time.monotonic()
    until(lambda: "\nmodemfleet_modem_info{" in page("/metrics"))
    took = time.monotonic() - started
    agent.terminate()
    agent.wait()
    return took


def theirs():
    manager = subprocess.Popen(["ModemManager"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until(lambda: subprocess.run(["mmcli", "-L"], capture_output=True).returncode == 0)
    monitor = subprocess.Popen(["mmcli", "-M"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    time.sleep(1)  # it does not tell when it listens
    bind("dummy_udc.0")
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
    subprocess.run(["bash", "-euc", ". /run/bed/gadget.sh; plug 0"], check=True)
    until(lambda: os.path.exists(LINK))
    modem = [PROGRAM, "sim", "--model", "sim7600", "--tty", "/dev/ttyGS2,/dev/ttyGS3", "--broker", "127.0.0.1:1"]
    subprocess.Popen(modem, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(int(os.environ["ROUNDS"])):
        for name, measured in ("modemfleet", ours), ("ModemManager", theirs):
            bind("")
            until(lambda: not os.path.exists(LINK))
            time.sleep(1)  # the simulator opens its ttys again
            print(name, round(measured(), 3), flush=True)


main()
