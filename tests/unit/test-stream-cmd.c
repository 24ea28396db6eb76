/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* `godwit stream` without the rest of godwit. */
#include "stream_cmd.h"

int
main (int argc, char **argv)
{
    return gw_cli_stream (argc, argv);
}
