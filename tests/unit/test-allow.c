/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "allow.h"
#include "test-host-dir.h"

#include <string.h>
#include <unistd.h>

/* disks/, sockets/ and files/ in a directory of the test's own, with some links. */
typedef struct {
    Dir *dir;
    char *at;
} Place;

static char *
place_path (const Place *place, const char *name)
{
    return g_build_filename (place->at, name, NULL);
}

static void
set_list (GStrv *field, const Place *place, const char *name)
{
    g_strfreev (*field);
    *field = g_new0 (char *, 2);
    (*field)[0] = place_path (place, name);
}

static void
place_init (Place *place)
{
    static const char *const dirs[] = { "disks", "sockets", "files", "secret" };
    place->dir = dir_new ();
    place->at = realpath (place->dir->path, NULL);
    for (guint i = 0; i < G_N_ELEMENTS (dirs); i++) {
        g_autofree char *path = place_path (place, dirs[i]);
        g_assert_cmpint (g_mkdir (path, 0700), ==, 0);
    }
    GwHostConfig *config = place->dir->config;
    set_list (&config->image_dirs, place, "disks");
    set_list (&config->socket_dirs, place, "sockets");
    set_list (&config->file_dirs, place, "files");
    config->is_direct = FALSE;
    g_strfreev (config->interfaces);
    config->interfaces = g_strsplit ("br0;vm-*", ";", -1);
    g_strfreev (config->qemu_helpers);
    config->qemu_helpers = g_strsplit ("/usr/lib/up", ";", -1);
}

static void
place_clear (Place *place)
{
    g_free (place->at);
    dir_free (place->dir);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Place, place_clear)

static void
put_link (const Place *place, const char *target, const char *name)
{
    g_autofree char *path = place_path (place, name);
    g_assert_cmpint (symlink (target, path), ==, 0);
}

/* "@" stands for the place. */
static char *
expand (const Place *place, const char *text)
{
    g_auto (GStrv) parts = g_strsplit (text, "@", -1);
    return g_strjoinv (place->at, parts);
}

static void
test_paths (void)
{
    static const struct {
        const char *path;
        GwAllowKind kind;
        gboolean is_ok;
    } table[] = {
        { "@/disks/a.img", GW_ALLOW_IMAGE, TRUE },
        { "@/disks/not/there/a.img", GW_ALLOW_IMAGE, TRUE },
        { "@/disks-too/a.img", GW_ALLOW_IMAGE, FALSE },
        { "@/sockets/a.img", GW_ALLOW_IMAGE, FALSE },
        { "@/files/a.img", GW_ALLOW_IMAGE, FALSE },
        { "@/files/a.img", GW_ALLOW_BASE, TRUE },
        { "@/disks/a.img", GW_ALLOW_FILE, FALSE },
        { "@/sockets/a", GW_ALLOW_SOCKET, TRUE },
        { "/dev/urandom", GW_ALLOW_FILE, TRUE },
        { "/dev/urandom", GW_ALLOW_SOCKET, FALSE },
        { "@/disks/../secret/a", GW_ALLOW_IMAGE, FALSE },
        { "@/disks/..", GW_ALLOW_IMAGE, FALSE },
        { "@/disks/not/../../secret/a", GW_ALLOW_IMAGE, FALSE }, /* which the kernel cannot resolve yet */
        { "@/disks/./a", GW_ALLOW_IMAGE, FALSE },
        { "@/disks/a.img", GW_ALLOW_BASE, TRUE },
        { "@/sockets/a.img", GW_ALLOW_BASE, FALSE },
        { "@/secret/a.img", GW_ALLOW_BASE, FALSE },
        { "disks/a", GW_ALLOW_IMAGE, FALSE },
        { "@/disks/out/a.img", GW_ALLOW_IMAGE, FALSE },     /* a link to a directory elsewhere */
        { "@/disks/out/not/there", GW_ALLOW_IMAGE, FALSE },
        { "@/disks/shadow", GW_ALLOW_IMAGE, FALSE },        /* a link to a file elsewhere */
        { "@/disks/dangling", GW_ALLOW_IMAGE, FALSE },      /* one to a file that could be made elsewhere */
        { "@/secret/in/a.img", GW_ALLOW_IMAGE, TRUE },      /* a link into what is allowed */
    };
    g_auto (Place) place = { 0 };
    place_init (&place);
    g_autofree char *secret = place_path (&place, "secret"), *disks = place_path (&place, "disks");
    g_autofree char *nothing = place_path (&place, "secret/none");
    put_link (&place, secret, "disks/out");
    put_link (&place, "/etc/passwd", "disks/shadow");
    put_link (&place, nothing, "disks/dangling");
    put_link (&place, disks, "secret/in");
    for (guint i = 0; i < G_N_ELEMENTS (table); i++) {
        g_autoptr (GError) error = NULL;
        g_autofree char *path = expand (&place, table[i].path);
        gboolean ok = gw_allow_path (place.dir->config, table[i].kind, path, &error);
        if (ok != table[i].is_ok)
            g_error ("'%s': %s", path, error != NULL ? error->message : "allowed");
        g_assert_true (ok || gw_error_get_cause (error) == GW_CAUSE_NOT_ALLOWED);
    }
}

/* What a peer may be told of. */
static void
test_knows (void)
{
    static const struct {
        const char *what;
        gboolean is_known;
    } table[] = { { "br0", TRUE },        { "eth0", FALSE },      { "@/disks/x", TRUE },  { "@/files/x", TRUE },
                  { "@/sockets/x", TRUE }, { "@/secret/x", FALSE }, { "vm-/x", FALSE },    { "/etc/shadow", FALSE } };
    g_auto (Place) place = { 0 };
    place_init (&place);
    for (guint i = 0; i < G_N_ELEMENTS (table); i++) {
        g_autofree char *what = expand (&place, table[i].what);
        if (gw_allow_knows (place.dir->config, what) != table[i].is_known)
            g_error ("'%s'", what);
    }
}

static const char *const good[] = {
    "-nodefaults -machine pc-q35-7.2,accel=tcg -m 128M -smp 2 -uuid x -cpu qemu64,+avx -rtc base=utc -enable-kvm",
    "-drive file=@/disks/a.qcow2,if=none,id=d -device virtio-blk-pci,drive=d,serial=a/b",
    "-drive if=pflash,readonly=on,file=@/files/code.fd -drive if=pflash,file=@/disks/vars.fd",
    "-blockdev driver=file,node-name=f,filename=@/disks/a -blockdev driver=raw,node-name=d,file=f",
    "-blockdev {\"driver\":\"qcow2\",\"node-name\":\"d\",\"file\":{\"driver\":\"file\",\"filename\":\"@/disks/a\"}}",
    "-hda @/disks/a -cdrom @/disks/b.iso @/disks/c.img",
    "-chardev socket,id=c,path=@/sockets/c,server=on,wait=off -mon chardev=c,mode=control",
    "-chardev file,id=c,path=@/sockets/log -serial chardev:c -serial none -monitor none",
    "-qmp unix:@/sockets/q,server=on,wait=off -serial mon:stdio -serial file:@/sockets/x -vnc unix:@/sockets/v",
    "-netdev tap,id=n,ifname=vm-1,script=no,downscript=no -device e1000,netdev=n,romfile=efi-e1000.rom",
    "-netdev user,id=u,restrict=on -netdev tap,id=m,script=/usr/lib/up,downscript=no",
    "-object memory-backend-file,id=m,mem-path=@/sockets/ram,size=1G -object rng-random,id=r,filename=/dev/urandom",
    "-kernel @/files/vmlinuz -initrd @/files/initrd -append root=/dev/vda/console=/dev/x -bios bios.bin",
    "!-nodefaults -nographic", "!-nic none -display none", "!-vnc none -net none",
    "-serial unix:@/sockets/s,server=on,wait=off,logfile=@/sockets/log,logappend=on -serial unix:@/sockets/t,server,nowait",
    "-display vnc=unix:@/sockets/v,password=on -spice unix=on,addr=@/sockets/spice -display egl-headless",
    "-fw_cfg opt/org.test/x,string=/a/b -option-rom @/files/rom,bootindex=1 -acpitable file=@/files/acpi",
    "-blockdev {\"driver\":\"file\",\"filename\":\"@/files/x.iso\",\"node-name\":\"c\",\"read-only\":true}",
    "-blockdev driver=raw,node-name=a,read-only=on,file.driver=file,file.filename=@/files/x",
    "-netdev {\"type\":\"user\",\"id\":\"u\",\"restrict\":true} -netdev user,id=v,restrict=on,net=10.0.2.0/24",
    "-netdev tap,id=n,br=br0,helper=/usr/lib/up -audiodev wav,id=a,path=@/sockets/wav -audiodev none,id=b",
    "-object tls-creds-x509,id=t,dir=@/files,endpoint=server -object secret,id=s,file=@/files/x -object iothread,id=i",
    "-device virtserialport,chardev=c,name=org.qemu.guest_agent.0 -device loader,file=@/files/x -append {a:'b'}",
    "-fw_cfg name=opt/org.test/x,string=/a/b -smbios type=1,product=a/b -name guest=a/b -pidfile @/sockets/pid",
    "-tpmdev emulator,id=t,chardev=c -chardev null,id=c -chardev stdio,id=d",
    "-object {\"qom-type\":\"iothread\",\"id\":\"i\"} -display {\"type\":\"egl-headless\"} "
    "-audiodev {\"driver\":\"none\",\"id\":\"a\"}",
    "!-netdev tap,id=n,ifname=vm-1,script=no,downscript=no -display none", "!-nodefaults -curses", "!-nodefaults -sdl",
    "!-nodefaults -spice unix=on,addr=@/sockets/spice",
    "-netdev user,id=u,restrict=yes -netdev user,id=v,restrict=true -netdev user,id=w,restrict=y",
    "-drive if=none,file=file:@/disks/a -machine virt,append=root=/dev/vda",
    "-chardev socket,id=c,path=@/sockets/c,abstract=off",
    NULL,
};

static const char *const bad[] = {
    "-drive file=/etc/shadow,if=none",
    "-drive file=@/disks/../secret/x",
    "-drive file=@/files/code.fd,if=pflash",
    "-drive if=none,file=@/disks/a,file.filename=/etc/shadow",
    "-drive file=json:{\"driver\":\"file\"}",
    "-drive file=nbd:host:10809",
    "-drive file=fat:rw:@/disks",
    "-drive file=fd:3",
    "-blockdev driver=nbd,server.type=inet,server.host=h,server.port=1,node-name=n",
    "-blockdev {\"driver\":\"raw\",\"file\":{\"driver\":\"file\",\"filename\":\"/etc/shadow\"}}",
    "-blockdev {\"driver\":\"raw\",\"file\":{\"driver\":\"nvme\",\"device\":\"0000:01:00.0\",\"namespace\":1}}",
    "-blockdev {'driver':'file','filename':'/etc/shadow'}",
    "-blockdev {'driver':'file','filename':'\\u002fetc\\u002fshadow','node-name':'a'}",
    "-blockdev {'driver':'file','filename':'a','node-name':'a'}",
    "-blockdev {\"driver\":\"file\",\"filename\":\"x\\'\"}",
    "-blockdev {\"driver\":\"file\",\"filename\":\"a\\u0000/../x\"}",
    "-blockdev {\"driver\":\"file\",\"filename\":\"\\u0/etc/shadow\"}",
    "-blockdev {\"driver\":\"file\",\"filename\":\"a\",}",
    "-blockdev driver=nvme,device=0000:01:00.0,namespace=1,node-name=n", "-blockdev node-name=n,driver=new",
    "-hda /etc/shadow",
    "/etc/shadow",
    "-chardev socket,id=c,host=0.0.0.0,port=1,server=on",
    "-chardev socket,id=c,path=/run/docker.sock",
    "-chardev file,id=c,path=@/files/x",
    "-chardev udp,id=c,host=h,port=1",
    "-serial tcp::4444,server=on", "-serial file:/etc/passwd", "-serial /dev/ttyS0", "-monitor telnet::1,server",
    "-vnc :0", "-gdb tcp::1234", "-s", "-spice port=5900",
    "-netdev tap,id=n,ifname=vm-1,script=/tmp/evil,downscript=no",
    "-netdev tap,id=n,ifname=vm-1",
    "-netdev tap,id=n,ifname=eth0,script=no,downscript=no",
    "-netdev bridge,id=n,br=br1", "-netdev tap,id=n,ifname=vm-/x,script=no,downscript=no",
    "-netdev bridge,id=n,br=br0,helper=/bin/sh",
    "-netdev user,id=n", "-netdev user,id=n,restrict=on,guestfwd=tcp:10.0.2.1:1-cmd:id",
    "-netdev socket,id=n,listen=:1", "-nic user,smb=/etc",
    "-object memory-backend-file,id=m,mem-path=@/files/code.fd,size=1M,share=on",
    "-object secret,id=s,file=/etc/shadow", "-object filter-dump,id=f,netdev=n,file=/etc/cron.d/x",
    "-object rng-random,id=r,filename=/dev/mem",
    "-device {'driver':'\\u0076fio-pci','host':'0000:01:00.0'}", "-device usb-mtp,rootdir=@/files",
    "-device canokey,file=@/files/x",
    "-device vfio-pci,host=0000:01:00.0", "-device usb-host,hostbus=1", "-device loader,file=/etc/shadow",
    "-device virtio-net-pci,romfile=/etc/shadow",
    "-kernel /etc/shadow", "-L /root", "-D /etc/cron.d/x", "-pidfile /etc/cron.d/x", "-bios ..",
    "-fsdev local,id=f,path=/,security_model=none", "-virtfs local,path=@/files,mount_tag=x",
    "-plugin @/files/evil.so", "-readconfig @/files/x", "-set drive.d.file=/etc/shadow", "-chroot @/files",
    "-incoming exec:id", "-daemonize", "-S", "-runas root", "-semihosting", "-dump-vmstate /etc/x", "-add-fd fd=3",
    /* what follows a path of a character device */
    "-serial unix:@/sockets/q,server=on,logfile=/etc/cron.d/x", "-qmp unix:@/sockets/q,path=/etc/x",
    "-serial unix:@/sockets/q,backend=udp,host=10.0.0.1,port=9", "-serial unix:@/sockets/q,path=@/sockets/r",
    "-serial unix:q,abstract=on", "-serial unix:@/sockets/q,abstract=on", "-chardev socket,id=c,path=x,abstract=on",
    "-serial pty:/etc/x", "-serial null,logfile=/etc/x", "-serial stdio,x=y", "-gdb 1234", "-serial braille",
    "-chardev socket,id=c,fd=3", "-chardev socket,id=c,path=@/sockets/c,server,,host=h", "-chardev new,id=c",
    "-chardev {\"a\":\"b,backend=udp,host=h\"}",
    /* the network by another name */
    "-display vnc=:1", "-display vnc=host:5500,reverse=on", "-display vnc=unix:/etc/v", "-display dbus,addr=tcp:host=h",
    "-display default", "-display spice-app", "-vnc unix:@/sockets/v,websocket=5700", "-vnc unix:@/sockets/v,vnc=:1",
    "-vnc unix:@/sockets/v,websocket", "-vnc none,vnc=:1", "-vnc chardev:1", "-spice unix=on,nounix,addr=@/sockets/x",
    "-spice unix=on,addr=@/sockets/x,port=5900", "-spice unix=on,addr=@/files/x",
    "-drive if=none,id=d,format=nbd,server.type=inet,server.host=10.0.0.5,server.port=10809",
    "-drive if=none,id=d,file=x,format=new",
    "-netdev tap,id=n,helper=/usr/lib/up,br=br1", "-netdev bridge,id=n,br=br0",
    "-netdev user,id=n,restrict=on,norestrict", "-netdev user,id=n,restrict=on,restrict=off",
    "-netdev {\"type\":\"user\",\"id\":\"u\",\"restrict\":true,\"guestfwd\":[{\"str\":\"tcp:10.0.2.1:80-cmd:id\"}]}",
    "-netdev user,id=n,restrict=on,smb=@/sockets", "-netdev passt,id=n", "-netdev tap,id=n,fd=3",
    "-object input-barrier,id=b,name=b,server=10.0.0.1,port=1", "-object dbus-vmstate,id=d,addr=tcp:host=h",
    "-object can-host-socketcan,id=c,if=can0,canbus=b", "-object qtest,id=q,chardev=c", "-object new,id=x",
    "-audiodev pa,id=a,server=tcp:10.0.0.1:4713", "!-display none", "!-nodefaults",
    /* two paths in one, and what is written */
    "-option-rom @/files/rom,romfile=/etc/shadow", "-acpitable data=@/files/a:/etc/shadow",
    "-initrd @/files/a,/etc/shadow", "-tpmdev passthrough,id=t", "-pidfile @/sockets/none/x",
    "-blockdev driver=raw,node-name=a,read-only=on,file.driver=file,file.filename=@/files/x,file.read-only=off",
    "-blockdev {\"driver\":\"raw\",\"read-only\":true,\"file\":{\"driver\":\"file\",\"filename\":\"@/files/x\","
    "\"read-only\":false}}",
    "-drive file=@/files/x,if=none,readonly=on,noreadonly", "-drive file=@/files/x,if=none,readonly=on,read-only=off",
    "-machine virt,dumpdtb=@/files/x", "-icount shift=auto,rr=record,rrfile=@/files/x",
    "-global driver=usb-mtp,property=rootdir,value=@/files", "-machine pc,dumpdtb=/etc/x", "-global virtio-net-pci.romfile=/etc/shadow", "-fw_cfg name=a,file=/etc/shadow",
    /* each of what belongs together by itself */
    "-spice unix=on,addr=@/sockets/x,tls-port=5901", "-mon chardev=c,mode=control,x=/etc/shadow", "-snapshot",
    "-blockdev node-name=n,filename=@/disks/a", "-chardev socket,id=c", "-chardev socket,id=c,port=1",
    "-chardev socket,id=c,path=@/sockets/c,host=h", "-netdev tap,id=n,ifname=vm-1,script=no",
    "-netdev tap,id=n,ifname=vm-1,downscript=no", "-netdev socket,id=n,listen=:1,restrict=on", "-device id=x",
    "-device vhost-scsi-pci,wwpn=x", "-device u2f-passthru,id=u", "-device ccid-card-passthru,id=c",
    "-device xen-pci-passthrough,id=x", "-device kvm-pci-assign,id=k", "-device {\"id\":\"x\"}",
    "-serial unix:@/sockets/q,xxserver", "-serial unix:@/sockets/q,nothing=x", "-serial unix:@/sockets/q,evil",
    "-serial chardev:/etc/x", "-serial vc:/etc/x", "-serial file:x", "-hda sub/x",
    "-netdev tap,id=n,ifname=vm-1,script=no,downscript=/tmp/evil", "-netdev tap,id=n,script=no,downscript=no,fd=3",
    "-netdev tap,id=n,script=no,downscript=no,fds=3:4", "-netdev tap,id=n,script=no,downscript=no,vhostfd=3",
    "-netdev tap,id=n,script=no,downscript=no,vhostfds=3:4", "-fsdev proxy,id=f,sock_fd=3",
    "-smbios file=/etc/shadow", "-trace file=/etc/x", "-audiodev wav,id=a,path=/etc/x", "-newoption x",
    NULL,
};

/* "!": without the options that keep QEMU from having a network and a screen by default. */
static gboolean
allows (const Place *place, const char *line, GError **error)
{
    g_autofree char *whole = *line == '!' ? g_strdup (line + 1) : g_strconcat ("-nodefaults -display none ", line, NULL);
    g_autofree char *text = expand (place, whole);
    g_auto (GStrv) args = g_strsplit (text, " ", -1);
    return gw_allow_arguments (place->dir->config, (const char *const *) args, error);
}

static void
test_good_lines (void)
{
    g_auto (Place) place = { 0 };
    place_init (&place);
    for (guint i = 0; good[i] != NULL; i++) {
        g_autoptr (GError) error = NULL;
        gboolean ok = allows (&place, good[i], &error);
        g_assert_no_error (error);
        g_assert_true (ok);
    }
}

static void
test_bad_lines (void)
{
    g_auto (Place) place = { 0 };
    place_init (&place);
    for (guint i = 0; bad[i] != NULL; i++) {
        g_autoptr (GError) error = NULL;
        if (allows (&place, bad[i], &error))
            g_error ("'%s' is allowed", bad[i]);
        g_assert_cmpint (gw_error_get_cause (error), ==, GW_CAUSE_NOT_ALLOWED);
    }
}

/* What a path in each place of a command line is for: "%" stands for one below disks/, sockets/ and files/. */
static void
test_what_paths_are_for (void)
{
    static const struct {
        const char *line, *places;
    } table[] = {
        { "-object secret,id=s,file=%", "f" },
        { "-object rng-random,id=r,filename=%", "f" },
        { "-object authz-list-file,id=a,filename=%", "f" },
        { "-object tls-creds-x509,id=t,dir=%", "f" },
        { "-object tls-creds-psk,id=t,dir=%", "f" },
        { "-object input-linux,id=i,evdev=%", "f" },
        { "-object sev-guest,id=s,sev-device=%", "f" },
        { "-object sev-guest,id=s,dh-cert-file=%", "f" },
        { "-object sev-guest,id=s,session-file=%", "f" },
        { "-object memory-backend-file,id=m,size=1M,mem-path=%", "s" },
        { "-object rng-random,id=r,file=%", "s" },
        { "-device loader,file=%", "f" },
        { "-device guest-loader,kernel=%", "f" },
        { "-device guest-loader,initrd=%", "f" },
        { "-device usb-mtp,rootdir=%", "d" },
        { "-device virtio-net-pci,romfile=%", "f" },
        { "-device ipmi-bmc-sim,sdrfile=%", "f" },
        { "-device ipmi-bmc-sim,frudatafile=%", "f" },
        { "-device vhost-vdpa-device-pci,vhostdev=%", "f" },
        { "-device canokey,file=%", "s" },
        { "-fsdev local,id=f,path=%", "d" },
        { "-fsdev proxy,id=f,socket=%", "s" },
        { "-virtfs local,mount_tag=m,path=%", "d" },
        { "-virtfs proxy,mount_tag=m,socket=%", "s" },
        { "-trace file=%", "s" },
        { "-audiodev wav,id=a,path=%", "s" },
        { "-audio wav,path=%", "s" },
        { "-tpmdev emulator,id=t,path=%", "s" },
        { "-mem-path %", "s" },
        { "-icount shift=auto,rr=record,rrfile=%", "s" },
        { "-spice unix=on,addr=%", "s" },
        { "-spice unix=on,x509-dir=%", "f" },
        { "-machine virt,dumpdtb=%", "s" },
        { "-machine virt,dtb=%", "f" },
        { "-M virt,dumpdtb=%", "s" },
        { "-global virtio-net-pci.romfile=%", "f" },
        { "-global driver=usb-mtp,property=rootdir,value=%", "s" },
        { "-display egl-headless,rendernode=%", "f" },
        { "-display egl-headless,x=%", "s" },
        { "-hda %", "d" },
        { "-drive if=none,file=%", "d" },
        { "-drive if=none,readonly=on,file=%", "df" },
        { "-kernel %", "f" },
        { "-chardev file,id=c,path=%", "s" },
        { "-serial file:%", "s" },
        { "-pidfile %", "s" },
        { "-netdev vhost-vdpa,id=n,vhostdev=%", "s" },
    };
    static const char *const places[] = { "@/disks/x", "@/sockets/x", "@/files/x" };
    g_auto (Place) place = { 0 };
    place_init (&place);
    for (guint i = 0; i < G_N_ELEMENTS (table); i++)
        for (guint k = 0; k < G_N_ELEMENTS (places); k++) {
            g_auto (GStrv) parts = g_strsplit (table[i].line, "%", 2);
            g_autofree char *line = g_strjoinv (places[k], parts);
            if (allows (&place, line, NULL) != (strchr (table[i].places, places[k][strlen ("@/")]) != NULL))
                g_error ("'%s' is for '%s'", line, table[i].places);
        }
}

/* The network is allowed, and what it would hide is not. */
static void
test_direct (void)
{
    static const char *const still_bad[] = {
        "-serial tcp::4444,server=on,logfile=/etc/x", "-vnc :1,vnc=unix:/etc/v", "-netdev passt,id=n",
        "-netdev {\"type\":\"user\",\"id\":\"u\",\"guestfwd\":[{\"str\":\"tcp:10.0.2.1:80-cmd:id\"}]}",
        "-blockdev driver=nvme,device=0000:01:00.0,namespace=1,node-name=n", "-serial pty:/etc/x",
        "-netdev user,id=n,smb=@/sockets", "-drive if=none,format=nvme,device=0000:01:00.0",
        "-netdev user,id=n,hostfwd=tcp::1-:2",
    };
    static const char *const now_good[] = {
        "-vnc :0,password=on", "-display vnc=:1,websocket=5700", "-serial tcp::4444,server=on,wait=off",
        "-monitor telnet::1,server,nowait", "-netdev user,id=n", "-drive if=none,file=nbd:host:10809", "!-m 64",
        "-blockdev driver=nbd,server.type=inet,server.host=h,server.port=1,node-name=n", "-spice port=5900",
        "-blockdev driver=iscsi,node-name=n", "-blockdev driver=http,node-name=n", "-blockdev driver=https,node-name=n",
        "-blockdev driver=ftp,node-name=n", "-blockdev driver=ftps,node-name=n", "-blockdev driver=ssh,node-name=n",
        "-blockdev driver=nfs,node-name=n", "-blockdev driver=rbd,node-name=n", "-blockdev driver=gluster,node-name=n",
        "-chardev udp,id=c,host=h,port=1", "-netdev socket,id=n,listen=:1", "-netdev stream,id=n", "-netdev dgram,id=n",
        "-netdev l2tpv3,id=n", "-netdev vde,id=n", "-netdev netmap,id=n", "-netdev af-xdp,id=n",
        "-object input-barrier,id=b,name=b,server=10.0.0.1,port=1", "-object dbus-vmstate,id=d,addr=tcp:host=h",
        "-drive if=none,file=nbd://h/x", "-drive if=none,file=iscsi://h/x", "-drive if=none,file=http://h/x",
        "-drive if=none,file=https://h/x", "-drive if=none,file=ssh://h/x", "-drive if=none,file=nfs://h/x",
        "-serial tcp::4444", "-display dbus", "-display default",
        "-vnc :1,password-secret=s,sasl=on,tls-creds=t,tls-authz=a,sasl-authz=a,share=ignore,lossy=on,non-adaptive=on,"
        "reverse=on,to=9,ipv4=on,ipv6=off,audiodev=a,id=v,head=0,display=d,power-control=on,key-delay-ms=1,connections=2,"
        "lock-key-sync=off",
    };
    g_auto (Place) place = { 0 };
    place_init (&place);
    place.dir->config->is_direct = TRUE;
    for (guint i = 0; i < G_N_ELEMENTS (still_bad); i++)
        if (allows (&place, still_bad[i], NULL))
            g_error ("'%s' is allowed", still_bad[i]);
    for (guint i = 0; i < G_N_ELEMENTS (now_good); i++) {
        g_autoptr (GError) error = NULL;
        gboolean ok = allows (&place, now_good[i], &error);
        g_assert_no_error (error);
        g_assert_true (ok);
    }
}

/* QEMU's own helpers, which it starts without being told, are some of them too. */
static void
test_own_helpers (void)
{
    g_auto (Place) place = { 0 };
    place_init (&place);
    g_strfreev (place.dir->config->qemu_helpers);
    place.dir->config->qemu_helpers = g_strsplit ("/etc/qemu-ifup;/etc/qemu-ifdown", ";", -1);
    g_assert_true (allows (&place, "-netdev tap,id=n,ifname=vm-1", NULL));
    g_strfreev (place.dir->config->qemu_helpers);
    place.dir->config->qemu_helpers = g_strsplit ("/usr/lib/qemu/qemu-bridge-helper", ";", -1);
    g_assert_true (allows (&place, "-netdev bridge,id=n,br=br0", NULL));
    g_assert_true (allows (&place, "-netdev bridge,id=n", NULL));
    g_assert_false (allows (&place, "-netdev bridge,id=n,br=br1", NULL));
    g_strfreev (place.dir->config->interfaces);
    place.dir->config->interfaces = g_strsplit ("vm-*", ";", -1); /* and br0 is what it means without br= */
    g_assert_false (allows (&place, "-netdev bridge,id=n", NULL));
    g_assert_true (allows (&place, "-netdev bridge,id=n,br=vm-1", NULL));
    g_assert_false (allows (&place, "-netdev tap,id=n,helper=/usr/lib/qemu/qemu-bridge-helper", NULL));
}

/* Without lists of paths nothing is looked at, as before. */
static void
test_unconfined (void)
{
    g_auto (Place) place = { 0 };
    place_init (&place);
    g_clear_pointer (&place.dir->config->socket_dirs, g_strfreev);
    g_clear_pointer (&place.dir->config->file_dirs, g_strfreev);
    for (guint i = 0; bad[i] != NULL; i++)
        g_assert_true (allows (&place, bad[i], NULL));
    g_assert_true (gw_allow_user (place.dir->config, "root", NULL));
}

static void
test_users (void)
{
    g_auto (Place) place = { 0 };
    place_init (&place);
    if (geteuid () != 0) {
        g_test_skip ("needs root: sudo -E make test");
        return;
    }
    g_assert_false (gw_allow_user (place.dir->config, "root", NULL));
    g_assert_false (gw_allow_user (place.dir->config, NULL, NULL));
    g_assert_true (gw_allow_user (place.dir->config, "nobody", NULL));
    g_autofree char *secret = expand (&place, "-hda @/secret/x"), *disk = expand (&place, "@/disks/x");
    g_auto (GStrv) bad_line = g_strsplit (secret, " ", -1);
    const char *const good_line[] = { "-nodefaults", "-nographic", "-hda", disk, NULL };
    g_assert_true (gw_allow_launch (place.dir->config, good_line, "nobody", NULL));
    g_assert_false (gw_allow_launch (place.dir->config, good_line, "root", NULL));
    g_assert_false (gw_allow_launch (place.dir->config, (const char *const *) bad_line, "nobody", NULL));
    place.dir->config->qemu_users = g_strsplit ("root", ";", -1);
    g_assert_true (gw_allow_user (place.dir->config, "root", NULL));
    g_assert_false (gw_allow_user (place.dir->config, "nobody", NULL));
}

static void
test_image_options (void)
{
    g_auto (Place) place = { 0 };
    place_init (&place);
    g_assert_true (gw_allow_image_options (place.dir->config, "compat=1.1,cluster_size=65536,lazy_refcounts=off", NULL));
    g_assert_true (gw_allow_image_options (place.dir->config, NULL, NULL));
    g_assert_false (gw_allow_image_options (place.dir->config, "compat=1.1,backing_file=/etc/shadow", NULL));
    g_assert_false (gw_allow_image_options (place.dir->config, "data_file=/etc/shadow", NULL));
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    g_test_add_func ("/allow/paths", test_paths);
    g_test_add_func ("/allow/knows", test_knows);
    g_test_add_func ("/allow/good-lines", test_good_lines);
    g_test_add_func ("/allow/bad-lines", test_bad_lines);
    g_test_add_func ("/allow/what-paths-are-for", test_what_paths_are_for);
    g_test_add_func ("/allow/direct", test_direct);
    g_test_add_func ("/allow/own-helpers", test_own_helpers);
    g_test_add_func ("/allow/unconfined", test_unconfined);
    g_test_add_func ("/allow/users", test_users);
    g_test_add_func ("/allow/image-options", test_image_options);
    return g_test_run ();
}
