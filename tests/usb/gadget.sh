# For scripts in the guest. plug N [PRODUCT] [PORTS] [PLACE]: a SIMCom device with serial functions, at the controller of
# its number where no place is named; unplug N.
# Its other sides are /dev/ttyGS<4N>… as long as 0 was plugged before 1. u_serial has 8 ports: two devices of four.
plug() {
  local n=$1 product=${2:-0x9001} ports=${3:-4} place=${4:-$1} i
  local gadget=/sys/kernel/config/usb_gadget/modem$n
  if [ ! -d "$gadget" ]; then
    mkdir "$gadget" "$gadget/strings/0x409" "$gadget/configs/c.1"
    echo 0x1e0e >"$gadget/idVendor"
    echo "$product" >"$gadget/idProduct"
    echo 0x0318 >"$gadget/bcdDevice"
    # All units share one serial number, as the real ones do.
    echo 0123456789ABCDEF >"$gadget/strings/0x409/serialnumber"
    echo "SimTech, Incorporated" | tee "$gadget/strings/0x409/manufacturer" >"$gadget/strings/0x409/product"
    for i in $(seq 0 $((ports - 1))); do
      mkdir "$gadget/functions/gser.$n$i"
      ln -s "$gadget/functions/gser.$n$i" "$gadget/configs/c.1/"
    done
  fi
  echo "dummy_udc.$place" >"$gadget/UDC"
}
unplug() {
  echo "" >"/sys/kernel/config/usb_gadget/modem$1/UDC"
}
