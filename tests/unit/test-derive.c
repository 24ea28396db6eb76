/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Command lines and what becomes of them on another host: machine, paths, servers, options. */
#include "test-derive-vm.h"

typedef struct {
    const char *before, *after;
} Row;

/* Without the machine type in front, which no row has. */
static void
assert_rows (const Row *rows, guint n_rows, const char *maps)
{
    for (guint i = 0; i < n_rows; i++) {
        g_autoptr (GwVm) vm = vm_new (rows[i].before);
        g_autofree char *line = derive_line (vm, maps, NULL);
        const char *head = "-machine pc-q35-7.2 ";
        g_assert_true (g_str_has_prefix (line, head));
        g_assert_cmpstr (line + strlen (head), ==, rows[i].after);
    }
}

static void
test_machine (void)
{
    static const Row rows[] = {
        { "-machine q35,accel=tcg", "-machine pc-q35-7.2,accel=tcg" },
        { "-M q35", "-M pc-q35-7.2" },
        { "-machine type=q35,usb=on", "-machine type=pc-q35-7.2,usb=on" },
        { "-machine pc-q35-7.2", "-machine pc-q35-7.2" },
        { "-machine {\"type\":\"q35\",\"usb\":true}",
          "-machine {\"type\":\"pc-q35-7.2\",\"usb\":true}" },
        { "-machine accel=tcg -M q35", "-machine accel=tcg -M pc-q35-7.2" },
        { "-machine accel=tcg", "-machine pc-q35-7.2 -machine accel=tcg" },
        { "-m 64", "-machine pc-q35-7.2 -m 64" },
        { "", "-machine pc-q35-7.2" },
    };
    for (guint i = 0; i < G_N_ELEMENTS (rows); i++) {
        g_autoptr (GwVm) vm = vm_new (rows[i].before);
        g_autoptr (GwDerived) derived = NULL;
        g_autofree char *line = derive_line (vm, NULL, &derived);
        g_assert_cmpstr (line, ==, rows[i].after);
        g_assert_cmpuint (derived->rewrites->len, ==, strcmp (rows[i].before, line) == 0 ? 0 : 1);
    }
}

static void
test_paths (void)
{
    static const Row rows[] = {
        {"-kernel /boot/vmlinuz", "-kernel /boot/vmlinuz"},
        {"-kernel vmlinuz", "-kernel /cwd/vmlinuz"},
        {"--kernel vmlinuz", "--kernel /cwd/vmlinuz"},
        {"-kernel /img/vmlinuz", "-kernel /there/vmlinuz"},
        {"-kernel /img", "-kernel /there"},
        {"-kernel /imgs/x", "-kernel /imgs/x"},
        {"-kernel /img/deep/x", "-kernel /deeper/x"},
        {"-kernel /img/deeper", "-kernel /there/deeper"},
        {"-kernel /slash/x", "-kernel /S/x"},
        {"-kernel rel", "-kernel /mapped"},
        {"/img/disk", "/there/disk"},
        {"disk", "/cwd/disk"},
        {"-bios bios.bin", "-bios bios.bin"},
        {"-bios fw/bios.bin", "-bios /cwd/fw/bios.bin"},
        {"-bios named.bin", "-bios /fw/named.bin"},
        {"-option-rom rom.bin", "-option-rom rom.bin"},
        {"-pidfile pid -D /img/log", "-pidfile /cwd/pid -D /there/log"},
        {"-hda file:/img/a", "-hda /there/a"},
        {"-cdrom nbd://host/x", "-cdrom nbd://host/x"},
        {"-drive file=/img/a,,b,format=raw", "-drive file=/there/a,,b,format=raw"},
        {"-drive file=file:/img/a", "-drive file=/there/a"},
        {"-drive file=nbd:unix:/s", "-drive file=nbd:unix:/s"},
        {"-drive file=null-co://", "-drive file=null-co://"},
        {"-drive file=a:b", "-drive file=a:b"},
        {"-drive file=./a:b", "-drive file=/cwd/./a:b"},
        {"-drive if=none,id=d0,file=a", "-drive if=none,id=d0,file=/cwd/a"},
        {"-drive driver=raw,file.driver=file,file.filename=/img/a",
         "-drive driver=raw,file.driver=file,file.filename=/there/a"},
        {"-blockdev driver=raw,node-name=d0,file.driver=file,file.filename=/img/a",
         "-blockdev driver=raw,node-name=d0,file.driver=file,file.filename=/there/a"},
        {"-blockdev {\"node-name\":\"d0\",\"file\":{\"filename\":\"/img/a\"}}",
         "-blockdev {\"node-name\":\"d0\",\"file\":{\"filename\":\"/there/a\"}}"},
        {"-blockdev {\"node-name\":\"d0\",\"children\":[{\"filename\":\"b\"}]}",
         "-blockdev {\"node-name\":\"d0\",\"children\":[{\"filename\":\"/cwd/b\"}]}"},
        {"-object rng-random,id=o0,filename=/img/r", "-object rng-random,id=o0,filename=/there/r"},
        {"-fw_cfg name=opt/a,file=f", "-fw_cfg name=opt/a,file=/cwd/f"},
        {"-fw_cfg opt/a,string=x=/img", "-fw_cfg opt/a,string=x=/img"},
        {"-netdev tap,id=n0,ifname=tap0,script=no,downscript=/img/d",
         "-netdev tap,id=n0,ifname=vm7,script=no,downscript=/there/d"},
        {"-netdev tap,id=n0,ifname=tap00", "-netdev tap,id=n0,ifname=tap00"},
        {"-nic bridge,br=br0", "-nic bridge,br=br1"},
        {"-spice port=5900,addr=127.0.0.1,x509-dir=tls",
         "-spice port=5900,addr=127.0.0.1,x509-dir=/cwd/tls"},
        {"-spice unix=on,addr=/img/s", "-spice unix=on,addr=/there/s"},
    };
    assert_rows (
        rows, G_N_ELEMENTS (rows),
        "/img=/there /img/deep=/deeper /slash/=/S/ /cwd/rel=/mapped named.bin=/fw/named.bin "
        "tap0=vm7 br0=br1 /img/deepe=/wrong");
}

static void
test_servers (void)
{
    static const Row rows[] = {
        {"-chardev socket,id=c0,path=/s,server=on",
         "-chardev socket,id=c0,path=/s,server=on,wait=off"},
        {"-chardev socket,id=c0,path=s,server,wait",
         "-chardev socket,id=c0,path=/cwd/s,server,wait=off"},
        {"-chardev socket,id=c0,path=/s,server,nowait",
         "-chardev socket,id=c0,path=/s,server,nowait"},
        {"-chardev socket,id=c0,path=/s,server=on,wait=off",
         "-chardev socket,id=c0,path=/s,server=on,wait=off"},
        {"-chardev socket,id=c0,path=/s,server=on,wait=on",
         "-chardev socket,id=c0,path=/s,server=on,wait=off"},
        {"-chardev socket,id=c0,path=/s,server=off", "-chardev socket,id=c0,path=/s,server=off"},
        {"-chardev socket,id=c0,path=/s", "-chardev socket,id=c0,path=/s"},
        {"-chardev file,id=c0,path=log", "-chardev file,id=c0,path=/cwd/log,append=on"},
        {"-chardev file,id=c0,path=/log,append=off", "-chardev file,id=c0,path=/log,append=off"},
        {"-chardev null,id=c0,logfile=log", "-chardev null,id=c0,logfile=/cwd/log,logappend=on"},
        {"-serial unix:/img/s,server=on", "-serial unix:/there/s,server=on,wait=off"},
        {"-serial unix:s,server,nowait", "-serial unix:/cwd/s,server,nowait"},
        {"-serial unix:/img/s", "-serial unix:/there/s"},
        {"-serial unix:/img/a,,b", "-serial unix:/there/a,,b"},
        {"-serial mon:unix:/img/s,server=on", "-serial mon:unix:/there/s,server=on,wait=off"},
        {"-serial file:/img/a,b,,c", "-serial file:/there/a,b,,c"},
        {"-serial pipe:p", "-serial pipe:/cwd/p"},
        {"-serial tcp:host:4444,server=on", "-serial tcp:host:4444,server=on,wait=off"},
        {"-serial tcp::4444", "-serial tcp::4444"},
        {"-serial mon:stdio", "-serial mon:stdio"},
        {"-serial chardev:c0", "-serial chardev:c0"},
        {"-monitor telnet::1,server,nowait", "-monitor telnet::1,server,nowait"},
        {"-monitor websocket::1,server", "-monitor websocket::1,server,wait=off"},
        {"-qmp unix:/img/q,server=on,wait=off", "-qmp unix:/there/q,server=on,wait=off"},
        {"-vnc unix:/img/v,password=on", "-vnc unix:/there/v,password=on"},
        {"-vnc :1,tls-creds=t", "-vnc :1,tls-creds=t"},
    };
    assert_rows (rows, G_N_ELEMENTS (rows), "/img=/there");
}

static void
test_left_out (void)
{
    static const Row rows[] = {
        {"-S -m 64 -incoming defer -daemonize -loadvm x -preconfig", "-m 64"},
        {"-chardev socket,id=godwit-qmp,path=/v/qmp.sock,server=on,wait=off "
         "-mon chardev=godwit-qmp,mode=control -mon chardev=c0",
         "-mon chardev=c0"},
        {"-mon godwit-qmp,mode=control -nographic", "-nographic"},
        {"-display gtk,gl=on -display vnc=:1", "-display none -display vnc=:1"},
        {"-sdl -display none", "-display none -display none"},
        {"-netdev user,id=n0 -netdev user,id=gone -nic user,id=x",
         "-netdev user,id=n0 -nic user,id=x"},
        {"-chardev null,id=c0 -chardev null,id=gone", "-chardev null,id=c0"},
        {"-object rng-random,id=o0 -object rng-random,id=gone", "-object rng-random,id=o0"},
        {"-drive if=none,id=d0 -drive if=none,id=gone -drive if=ide,id=x",
         "-drive if=none,id=d0 -drive if=ide,id=x"},
        {"-blockdev null-co,node-name=d0 -blockdev null-co,node-name=gone",
         "-blockdev null-co,node-name=d0"},
        {"-async-teardown -unknown value", "-async-teardown -unknown value"},
    };
    assert_rows (rows, G_N_ELEMENTS (rows), NULL);
}

static void
test_refused (void)
{
    static const struct {
        const char *arguments, *part;
    } rows[] = {
        { "-netdev tap,id=n0,fd=5", "(fd=)" },
        { "-netdev tap,id=n0,fds=5:6", "(fds=)" },
        { "-netdev tap,id=n0,vhostfd=5", "(vhostfd=)" },
        { "-chardev socket,id=c0,fd=5", "'-chardev socket,id=c0,fd=5'" },
        { "-object iommufd,id=o0,fd=5", "(fd=)" },
        { "-fsdev proxy,id=f,sock_fd=5", "(sock_fd=)" },
        { "-add-fd fd=3,set=1", "'-add-fd'" },
        { "-snapshot", "'-snapshot'" },
        { "-m 64 -device", "ends after '-device'" },
        { "-kernel", "ends after '-kernel'" },
    };
    for (guint i = 0; i < G_N_ELEMENTS (rows); i++) {
        g_autoptr (GwVm) vm = vm_new (rows[i].arguments);
        assert_underivable (vm, NULL, GW_CAUSE_OPTION_UNSUPPORTED, rows[i].part);
    }
    static const char *const maps[] = { "/a", "=/b", "/a=", "/x=/y /a" };
    for (guint i = 0; i < G_N_ELEMENTS (maps); i++) {
        g_autoptr (GwVm) vm = vm_new ("");
        assert_underivable (vm, maps[i], GW_CAUSE_USAGE, "is not SOURCE=DESTINATION");
    }
    g_autoptr (GwVm) plain = vm_new ("");
    assert_underivable (plain, "/img=there", GW_CAUSE_USAGE, "'there' is not an absolute path");
    g_autoptr (GwVm) gone = vm_new ("-netdev tap,id=gone,fd=5");
    g_autofree char *line = derive_line (gone, NULL, NULL);
    g_assert_cmpstr (line, ==, "-machine pc-q35-7.2");
    g_autoptr (GwVm) empty = vm_new ("-display  -drive  -serial ");
    g_autofree char *same = derive_line (empty, NULL, NULL);
    g_assert_cmpstr (same, ==, "-machine pc-q35-7.2 -display  -drive  -serial ");
}

/* What the destination's QEMU will touch, and what is said about each change. */
static void
test_needs (void)
{
    static const struct {
        const char *arguments, *kind, *path, *source_path; /* kind NULL: none */
    } rows[] = {
        { "-drive file=/img/a", "image", "/there/a", "/img/a" },
        { "-hda a", "image", "/cwd/a", "/cwd/a" },
        { "-kernel /k", "input", "/k", "/k" },
        { "-pidfile /p", "file", "/p", "/p" },
        { "-chardev socket,id=c0,path=/img/s,server=on,wait=off", "socket", "/there/s", "/img/s" },
        { "-chardev socket,id=c0,path=/s", "peer", "/s", "/s" },
        { "-chardev file,id=c0,path=/f", "file", "/f", "/f" },
        { "-chardev pipe,id=c0,path=/f", "input", "/f", "/f" },
        { "-serial unix:/s,server,nowait", "socket", "/s", "/s" },
        { "-serial unix:/s", "peer", "/s", "/s" },
        { "-serial file:/f", "file", "/f", "/f" },
        { "-vnc unix:/v", "socket", "/v", "/v" },
        { "-bios bios.bin", NULL, NULL, NULL },
        { "-drive file=nbd://h/x", NULL, NULL, NULL },
        { "-netdev tap,id=n0,ifname=tap0,script=no", "tap", "tap0", "tap0" },
        { "-netdev tap,id=n0,ifname=/img,script=no", "tap", "/there", "/img" },
        { "-netdev tap,id=n0,ifname=tap0", NULL, NULL, NULL }, /* QEMU's script makes it */
        { "-netdev bridge,id=n0", "bridge", "br0", "br0" },
        { "-netdev bridge,id=n0,br=lan", "bridge", "lan", "lan" },
        { "-netdev user,id=n0", NULL, NULL, NULL },
    };
    for (guint i = 0; i < G_N_ELEMENTS (rows); i++) {
        g_autoptr (GwVm) vm = vm_new (rows[i].arguments);
        g_autoptr (GwDerived) derived = NULL;
        g_autofree char *line = derive_line (vm, "/img=/there", &derived);
        g_assert_true (g_str_has_prefix (line, "-machine pc-q35-7.2 "));
        g_assert_cmpuint (derived->needs->len, ==, rows[i].kind != NULL ? 1 : 0);
        if (rows[i].kind == NULL)
            continue;
        const GwNeed *need = derived->needs->pdata[0];
        g_assert_cmpstr (need->kind, ==, rows[i].kind);
        g_assert_cmpstr (need->path, ==, rows[i].path);
        g_assert_cmpstr (need->source_path, ==, rows[i].source_path);
    }
}

/* The image above says where the image below is: relative to itself, or for ever. */
static void
test_backing (void)
{
    static const struct {
        const char *name, *path, *expected; /* expected NULL: no need of its own */
    } rows[] = {
        { "base", "/img/base", "/there/base" },
        { "../old/base", "/old/base", "/old/base" },
        { "/img/base", "/img/base", "/img/base" },
        { "nbd://h/x", "nbd://h/x", NULL },
    };
    for (guint i = 0; i < G_N_ELEMENTS (rows); i++) {
        g_autoptr (GwVm) vm = vm_new ("-drive file=/img/a");
        g_autoptr (GwDerived) derived = NULL;
        GwDisk *disk = g_new0 (GwDisk, 1);
        GwBacking *backing = g_new0 (GwBacking, 1);
        disk->path = g_strdup ("/img/a");
        disk->backing = g_ptr_array_new ();
        backing->name = g_strdup (rows[i].name);
        backing->path = g_strdup (rows[i].path);
        g_ptr_array_add (disk->backing, backing);
        g_ptr_array_add (vm->disks, disk);
        g_autofree char *line = derive_line (vm, "/img=/there", &derived);
        g_assert_nonnull (line);
        g_assert_cmpuint (derived->needs->len, ==, rows[i].expected != NULL ? 2 : 1);
        if (rows[i].expected == NULL)
            continue;
        const GwNeed *need = derived->needs->pdata[1];
        g_assert_cmpstr (need->kind, ==, "backing");
        g_assert_cmpstr (need->path, ==, rows[i].expected);
        g_assert_cmpstr (need->source_path, ==, rows[i].path);
    }
}

static void
test_rewrites (void)
{
    g_autoptr (GwVm) vm = vm_new ("-M pc-q35-7.2 -hda /img/a -kernel k -netdev user,id=gone");
    g_autoptr (GwDerived) derived = NULL;
    g_autofree char *line = derive_line (vm, "/img=/there", &derived);
    static const struct {
        const char *option, *from, *to, *why;
    } expected[] = {
        { "-hda", "/img/a", "/there/a", "--map" },
        { "-kernel", "k", "/cwd/k", "made absolute" },
        { "-netdev", "gone", "", "removed from the VM at run time" },
    };
    g_assert_cmpstr (line, ==, "-M pc-q35-7.2 -hda /there/a -kernel /cwd/k");
    g_assert_cmpuint (derived->rewrites->len, ==, G_N_ELEMENTS (expected));
    for (guint i = 0; i < G_N_ELEMENTS (expected); i++) {
        const GwRewrite *rewrite = derived->rewrites->pdata[i];
        g_assert_cmpstr (rewrite->option, ==, expected[i].option);
        g_assert_cmpstr (rewrite->from, ==, expected[i].from);
        g_assert_cmpstr (rewrite->to, ==, expected[i].to);
        g_assert_cmpstr (rewrite->why, ==, expected[i].why);
    }
}

int
main (int argc, char **argv)
{
    g_test_init (&argc, &argv, NULL);
    g_test_add_func ("/derive/machine", test_machine);
    g_test_add_func ("/derive/paths", test_paths);
    g_test_add_func ("/derive/servers", test_servers);
    g_test_add_func ("/derive/left-out", test_left_out);
    g_test_add_func ("/derive/refused", test_refused);
    g_test_add_func ("/derive/needs", test_needs);
    g_test_add_func ("/derive/backing", test_backing);
    g_test_add_func ("/derive/rewrites", test_rewrites);
    return g_test_run ();
}
