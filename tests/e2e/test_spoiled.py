# SPDX-License-Identifier: LGPL-2.1-or-later
"""The grid of setups that cannot move: each is really spoiled, with real QEMU, and `check` and `migrate`
refuse it with exit status 2, its own cause and the values of both sides, with nothing touched on either
host. A row is a setup; what may move is in test_checks.py and test_rehearse.py."""

import dataclasses
import subprocess

import pytest
import rig
from rig import faults
from rig.spoil import Setup, hold, MEM, REAL

# what the comparison of both QEMUs finds: by `check` in the QEMU of the rehearsal, by `migrate` without a
# rehearsal in the one that was launched to take the VM
COMPARED = {"devices-differ", "device-moved", "queues-differ", "vectors-differ", "ram-differs",
            "rom-differs", "cpu-differs"}


@dataclasses.dataclass
class Row:
    """A spoiled setup. `before(directory, net)` runs before the VM is there, `after(setup)` when it is;
    {dir} in texts is the directory of the test."""
    cause: str
    says: list
    args: list = ()
    launched: str = None
    asked: str = None
    options: list = ()
    before: object = None
    after: object = None
    machine: str = "q35"
    more: dict = dataclasses.field(default_factory=dict)


def image(path, size=1 << 20):
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(bytes(size))


def overlay(directory, host):
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-u", "-b", "base", "-F", "raw",
                    f"{directory}/{host}/top", "1M"], check=True)


def small_disk(directory, net):
    image(directory / "one" / "d.img")
    image(directory / "two" / "d.img", (1 << 20) - 1)


def locked_disk(directory, net):
    image(directory / "one" / "d.img")
    image(directory / "two" / "d.img")
    net.b.popen(["qemu-nbd", "-f", "raw", "-k", f"{directory}/nbd.sock", f"{directory}/two/d.img"])
    faults.wait_until((directory / "nbd.sock").exists, 10, "qemu-nbd")


CA = """[ca]
default_ca = own
[own]
database = index
new_certs_dir = .
serial = serial
default_md = sha256
policy = names
[names]
commonName = supplied
"""


def certificates(directory, net):
    """The source's are good for long, the destination's have ended."""
    for name, end in (("one", "20991231235959Z"), ("two", "20200102000000Z")):
        where = directory / name
        where.mkdir()
        (where / "index").touch()
        (where / "ca.conf").write_text(CA)

        def openssl(*args):
            subprocess.run(["openssl", *args], check=True, cwd=where, stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL)

        openssl("req", "-new", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=godwit",
                "-keyout", "server-key.pem", "-out", "request.pem")
        openssl("ca", "-batch", "-selfsign", "-create_serial", "-config", "ca.conf", "-keyfile",
                "server-key.pem", "-in", "request.pem", "-out", "ca-cert.pem", "-notext",
                "-startdate", "20200101000000Z", "-enddate", end)
        (where / "server-cert.pem").write_bytes((where / "ca-cert.pem").read_bytes())


def media(directory, net):
    """Of the same size, and one byte near the end is another."""
    for name, byte in (("one", b"1"), ("two", b"2")):
        (directory / name).mkdir()
        (directory / name / "cd.iso").write_bytes(bytes((3 << 20) - 1) + byte)


def overlays(directory, net):
    image(directory / "one" / "base")
    (directory / "two").mkdir()
    overlay(directory, "one")
    overlay(directory, "two")


def tap(host, name, *flags):
    host.run(["ip", "tuntap", "add", name, "mode", "tap", *flags])


def set_capability(name):
    def after(setup):
        with setup.vm.monitor() as monitor:
            monitor.execute("migrate-set-capabilities",
                            capabilities=[{"capability": name, "state": True}])
    return after


def execute(command, **arguments):
    def after(setup):
        with setup.vm.monitor() as monitor:
            monitor.execute(command, **arguments)
    return after


def double(setup):
    hold(rig.Guest(setup.net.b, setup.directory / "double", mem=MEM, args=UUID))


def plug(setup):
    with setup.vm.monitor() as monitor:
        monitor.execute("device_add", driver="virtio-rng-pci", id="plugged", bus="rp0")


TWO = ["--map", "{dir}/one={dir}/two", "--disks", "shared"]
UUID = ["-uuid", "11111111-2222-3333-4444-555555555555"]
TAP = ["-netdev", "tap,id=n0,ifname=gwtap0,script=no,downscript=no", "-device", "virtio-net-pci,netdev=n0"]
TAPS = ["-netdev", "tap,id=n0,ifname=gwtap0,script=no,downscript=no,queues=2", "-device",
        "virtio-net-pci,netdev=n0,id=net0,mq=on"]
NET = ["-netdev", "user,id=n0", "-device", "virtio-net-pci,netdev=n0,id=net0"]
E1000 = ["-netdev", "user,id=n1", "-device", "e1000,netdev=n1,id=net1"]
SCSI = ["-device", "virtio-scsi-pci,id=scsi0", "-blockdev",
        "driver=null-co,node-name=nul,size=1048576,read-zeroes=on", "-device",
        "scsi-hd,drive=nul,bus=scsi0.0,id=disk0,scsi-id=1,lun=2"]
BLK = ["-blockdev", "driver=null-co,node-name=nul,size=1048576,read-zeroes=on", "-device",
       "virtio-blk-pci,drive=nul,id=blk0"]
USB = ["-device", "qemu-xhci,id=usb", "-device", "usb-tablet,id=tablet,bus=usb.0,port=1"]
HUGE = ["-object", "memory-backend-ram,id=m0,size=240G,reserve=off", "-machine", "memory-backend=m0"]

ROWS = {
    # --- what is asked for, and the VM by itself ---
    "vm-that-waits": Row("vm-state", ["'inmigrate'"], ["-incoming", "defer"]),
    "vm-on-its-way": Row("vm-busy", ["a migration under way"], after=execute(
        "migrate", uri="exec:sleep 60", detach=True)),
    "device-that-blocks": Row("migration-blocked", ["ivshmem"], [
        "-device", "ivshmem-plain,memdev=m0,master=off", "-object",
        "memory-backend-ram,id=m0,size=1M,share=on"]),
    "multifd-left-on": Row("migration-settings", ["'multifd'", "migrate-set-capabilities"],
                           after=set_capability("multifd")),
    "ignore-shared-left-on": Row("migration-settings", ["'x-ignore-shared'"],
                                 after=set_capability("x-ignore-shared")),
    "tls-of-qemu": Row("migration-settings", ["'tls0'"],
                       after=execute("migrate-set-parameters", **{"tls-creds": "tls0"})),
    "lost-dirty-pages": Row("qemu-bug", ["03bfc2188f", "7.2", "--accept-risk tcg-dirty-pages"],
                            more={"mem": "64M"}),

    # --- the destination's program ---
    "no-qemu": Row("binary-missing", ["qemu-system-x86_64", "{dir}/programs"],
                   before=lambda directory, net: (directory / "programs").mkdir(),
                   more={"programs_dir": "{dir}/programs"}),
    "no-q35-7.2": Row("machine-missing", ["'pc-q35-7.2'", "version 7.2"], asked=(
        "if '-machine' in argv: out = out.replace('pc-q35-7.2', 'pc-q35-7.x')")),
    "no-i440fx-7.2": Row("machine-missing", ["'pc-i440fx-7.2'", "version 7.2"], machine="pc", asked=(
        "if '-machine' in argv: out = out.replace('pc-i440fx-7.2', 'pc-i440fx-7.x')")),
    "no-e1000": Row("device-missing", ["'net1' (e1000)", "7.2"], E1000, asked=(
        "if '-device' in argv: out = out.replace('\"e1000\"', '\"e1001\"')")),
    "older-state-of-e1000": Row("state-version", ["'e1000'", "version 2", "0 to 0"], E1000, asked=(
        "out = re.sub(r'(?s)(\"e1000\": \\{.*?version_id\": )\\d+(,.*?version_id\": )\\d+', r'\\g<1>0\\g<2>0', out, count=1)")),
    "no-memory": Row("memory-short", ["240.0\u00a0GiB", "has"], HUGE, more={"mem": "240G"}),

    # --- paths and disks ---
    "path-in-use": Row("path-in-use", ["{dir}/s.sock"], [
        "-chardev", "socket,id=x,path={dir}/s.sock,server=on,wait=off"]),
    "other-disk": Row("disk-not-shared", ["{dir}/a/", "{dir}/b/"], more={"disk": "1M"}),
    "no-place-for-a-disk": Row("disk-no-place", ["no directory '{dir}/two'"], [
        "-drive", "if=virtio,file={dir}/one/d.img,format=raw"],
        options=["--map", "{dir}/one={dir}/two"], machine="pc",
        before=lambda directory, net: image(directory / "one" / "d.img")),
    "disk-onto-itself": Row("disk-copied-onto-itself", ["'{dir}/d.img'", "a token"], [
        "-drive", "if=virtio,file={dir}/d.img,format=raw"], options=["--disks", "copy"],
        before=lambda directory, net: image(directory / "d.img")),
    "smaller-disk": Row("disk-too-small", ["1048575 bytes on the destination", "1048576"], [
        "-drive", "if=virtio,file={dir}/one/d.img,format=raw"], options=TWO, before=small_disk),
    "unsafe-cache": Row("disk-cache-unsafe", ["{dir}/d.img"], [
        "-drive", "if=virtio,file={dir}/d.img,format=raw,cache=unsafe"], options=["--disks", "shared"],
        before=lambda directory, net: image(directory / "d.img")),
    "temporary-disk": Row("disk-temporary", ["temporary file"], [
        "-drive", "if=virtio,file={dir}/d.img,format=raw,snapshot=on"], options=["--disks", "shared"],
        before=lambda directory, net: image(directory / "d.img")),
    "locked-disk": Row("disk-locked", ["'{dir}/two/d.img'", "'{dir}/one/d.img'", "(qemu-nbd)"], [
        "-drive", "if=virtio,file={dir}/one/d.img,format=raw"], options=TWO, before=locked_disk),
    "no-image-below": Row("backing-missing", ["{dir}/one/base", "{dir}/two/base"], [
        "-drive", "if=virtio,file={dir}/one/top,format=qcow2"], options=TWO, before=overlays),
    "no-cd": Row("disk-not-shared", ["'/nowhere/cd.iso' does not exist"], [
        "-drive", "if=none,id=cd,media=cdrom,file={dir}/cd.iso,format=raw", "-device", "virtio-scsi-pci",
        "-device", "scsi-cd,drive=cd"], options=["--map", "{dir}/cd.iso=/nowhere/cd.iso"],
        before=lambda directory, net: image(directory / "cd.iso")),
    "other-cd": Row("disk-not-shared", ["'{dir}/two/cd.iso' on the destination is another medium"], [
        "-drive", "if=none,id=cd,media=cdrom,file={dir}/one/cd.iso,format=raw", "-device", "virtio-scsi-pci",
        "-device", "scsi-cd,drive=cd"], options=TWO, before=media),

    # --- networks and neighbours ---
    "no-tap": Row("network-missing", ["tap 'gwtap0'", "no interface 'gwtap0'"], TAP,
                  before=lambda directory, net: tap(net.a, "gwtap0")),
    "other-host's-address": Row("data-address", ["{a}", "{b}"], options=["--data-address", "{a}"]),
    "certificate-that-ends": Row("certificate-ends", ["'{dir}/two/ca-cert.pem' on the destination end"], [
        "-object", "tls-creds-x509,id=tls0,endpoint=server,dir={dir}/one,verify-peer=off,sanity-check=off"],
        options=TWO, before=certificates, machine="pc"),
    "vm-there-already": Row("vm-already-there", [UUID[1], "pid "], UUID, after=double),

    # --- a device on one side only ---
    "scsi-gone": Row("devices-differ", ["the VM has 'scsi0' (virtio-scsi-pci)"], SCSI,
                     "drop('virtio-scsi-pci', 'scsi-hd')"),
    "e1000-gone-pc": Row("devices-differ", ["the VM has 'net1' (e1000)"], E1000, "drop('e1000')",
                         machine="pc"),
    "tablet-gone": Row("devices-differ", ["the VM has 'tablet' (usb-tablet)"], USB, "drop('usb-tablet')"),
    "plugged-gone": Row("devices-differ", ["the VM has 'plugged' (virtio-rng-pci) at rp0"], [
        "-device", "pcie-root-port,id=rp0,chassis=1"], "drop('id=plugged')", after=plug),
    "rng-extra": Row("devices-differ", ["the destination has a virtio-rng-pci", "addr = 1c.0"], NET,
                     "add('-device', 'virtio-rng-pci,addr=1c.0')"),
    "e1000-extra-pc": Row("devices-differ", ["the destination has a e1000"], NET,
                          "add('-device', 'e1000,addr=1c.0')", machine="pc"),
    "keyboard-extra": Row("devices-differ", ["the destination has a usb-kbd"], USB,
                          "add('-device', 'usb-kbd,bus=usb.0,port=2')"),
    "rtl-for-e1000": Row("devices-differ", ["the VM has 'net1' (e1000)"], E1000,
                         "change('id=net1', 'e1000', 'rtl8139')"),
    "modern-for-transitional": Row("devices-differ", ["'net0'", "1af4:1000 in the VM and 1af4:1041"], NET,
                                   "change('id=net0', '$', ',disable-legacy=on')", machine="pc"),

    # --- a device elsewhere ---
    "net-moved": Row("device-moved", ["'net0'", "addr = 1d.0"], NET,
                     "change('id=net0', 'addr=[0-9a-f.]+', 'addr=1d.0')"),
    "blk-moved-pc": Row("device-moved", ["'blk0'", "addr = 1d.0"], BLK,
                        "change('id=blk0', 'addr=[0-9a-f.]+', 'addr=1d.0')", machine="pc"),
    "tablet-moved": Row("device-moved", ["'tablet'", "port = \"1\"", "port = \"3\""], USB,
                        "change('id=tablet', 'port=1', 'port=3')"),
    "disk-moved": Row("device-moved", ["'disk0'", "lun = 2", "lun = 3"], SCSI,
                      "change('id=disk0', 'lun=2', 'lun=3')"),
    "port-moved": Row("device-moved", ["virtserialport", "nr = 2", "nr = 9"], (),
                      "change('chardev=tick', 'nr=2', 'nr=9')"),

    # --- queues and vectors ---
    "scsi-queues": Row("queues-differ", ["'scsi0'", "1 queues in the VM and 3"], SCSI,
                       "change('id=scsi0', '$', ',num_queues=3')"),
    "blk-queues-pc": Row("queues-differ", ["'blk0'", "1 queues in the VM and 2"], BLK,
                         "change('id=blk0', '$', ',num-queues=2')", machine="pc"),
    "tap-queues": Row("queues-differ", ["'net0'", "2 queues in the VM and 4"], TAPS,
                      "change('id=n0', 'queues=2', 'queues=4')",
                      before=lambda directory, net: [tap(net.a, "gwtap0", "multi_queue"),
                                                     tap(net.b, "gwtap0", "multi_queue")]),
    "net-vectors": Row("vectors-differ", ["'net0'", "4 interrupt vectors in the VM and 7"], NET,
                       "change('id=net0', '$', ',vectors=7')"),
    "serial-vectors-pc": Row("vectors-differ", ["'ports'", "2 interrupt vectors in the VM and 5"], (),
                             "change('id=ports', '$', ',vectors=5')", machine="pc"),

    # --- RAM, ROMs, processor ---
    "net-rom": Row("rom-differs", ["virtio-net-pci.rom", "262144", "1048576"], NET,
                   "change('id=net0', '$', ',romsize=1048576')"),
    "e1000-rom-pc": Row("rom-differs", ["e1000.rom", "262144", "524288"], E1000,
                        "change('id=net1', '$', ',romsize=524288')", machine="pc"),
    "video-ram": Row("ram-differs", ["vga.vram", "16777216", "33554432"], [
        "-device", "VGA,id=vga,vgamem_mb=16"], "change('id=vga', 'vgamem_mb=16', 'vgamem_mb=32')"),
    "less-ram-pc": Row("ram-differs", ["'pc.ram'", "67100672", "33546240"], (),
                       "argv[argv.index('-m') + 1] = '32760K'", machine="pc"),
    "named-cpu": Row("cpu-differs", ["lacks sse3", "0x1/0 ECX"], (), "add('-cpu', 'qemu64,-sse3')"),
    "host-cpu-pc": Row("cpu-differs", ["lacks avx2", "0x7/0 EBX"], (),
                       "change('max', 'max', 'max,-avx2')", machine="pc", more={"cpu": "max"}),
    "other-cpu": Row("cpu-differs", ["'qemu64-x86_64-cpu'", "'Nehalem-x86_64-cpu'"], (),
                     "add('-cpu', 'Nehalem')"),

    # --- what only the load of the state tells ---
    "older-machine": Row("rehearsal-rejected", ["pc-q35-7.2", "pc-q35-7.1"], NET,
                         "change('pc-q35-7.2', 'pc-q35-7.2', 'pc-q35-7.1')"),
    "older-machine-pc": Row("rehearsal-rejected", ["pc-i440fx-7.2", "pc-i440fx-7.1"], NET,
                            "change('pc-i440fx-7.2', 'pc-i440fx-7.2', 'pc-i440fx-7.1')", machine="pc"),
    "no-hpet": Row("rehearsal-rejected", ["hpet"], (), "add('-machine', 'hpet=off')"),
    "fewer-processors": Row("rehearsal-rejected", ["cpu", "instance"], (),
                            "argv[argv.index('-smp') + 1] = '1'", more={"smp": 2}, machine="pc"),
    "unknown-device": Row("rehearsal-launch-failed", ["no-such-device"], NET,
                          "add('-device', 'no-such-device')"),
}


def test_grid_is_large_enough():
    assert len(ROWS) >= 40
    assert {row.machine for row in ROWS.values()} == {"pc", "q35"}


@pytest.mark.parametrize("name", ROWS)
def test_spoiled_setup_is_refused(net, tmp_path, name):
    row = ROWS[name]

    def fill(texts):
        return [text.format(dir=tmp_path, a=net.a.address, b=net.b.address) for text in texts]

    if row.before:
        row.before(tmp_path, net)
    more = {key: fill([value])[0] if isinstance(value, str) else value for key, value in row.more.items()}
    setup = Setup(net, tmp_path, fill(row.args), row.launched, row.asked, machine=row.machine, **more)
    if row.after:
        row.after(setup)
    setup.refused(row.cause, *fill(row.says), options=fill(row.options),
                  more=["--no-rehearse"] if row.cause in COMPARED else [])


def test_new_machine_type_is_refused_by_an_old_qemu(net, tmp_path):
    try:
        new = rig.qemu10.directory()
    except rig.Missing as error:
        pytest.skip(str(error))
    setup = Setup(net, tmp_path, machine="pc-q35-10.0", qemu=f"{new}/qemu-system-x86_64",
                  programs_dir=REAL.rsplit("/", 1)[0])
    setup.refused("machine-missing", "'pc-q35-10.0'", "version 7.2")
