#!/bin/sh
# What a machine of .ci/kernels or .ci/arm64 does from its start to its end. The kernel's command line says what.
mount -t proc none /proc
mount -t sysfs none /sys
mount -t tmpfs none /run
mkdir -p /dev/shm /dev/pts
mount -t tmpfs -o mode=1777 none /dev/shm
ln -sf /proc/self/fd /dev/fd
mount -t cgroup2 none /sys/fs/cgroup && echo +memory > /sys/fs/cgroup/cgroup.subtree_control
mount -t tracefs none /sys/kernel/tracing
ip link set lo up
export HOME=/tmp PYTHONDONTWRITEBYTECODE=1

of_command_line() { # name
    sed -n "s/.* $1=\([^ ]*\).*/\1/p" /proc/cmdline
}

put() { # name=value; a file below /proc/sys, or shmem_enabled
    case $1 in
        shmem_enabled=*) echo "${1#*=}" > /sys/kernel/mm/transparent_hugepage/shmem_enabled ;;
        *=*) echo "${1#*=}" > "/proc/sys/${1%%=*}" ;;
    esac || echo "this kernel has no $1"
}

run_tests() { # as the user that the command line names
    set -- python -m pytest -q -rs --color=no -p no:cacheprovider $(of_command_line tests | tr , ' ')
    case $(of_command_line who) in
        root) "$@" ;;
        *) as_nobody "$@" ;;
    esac
}

as_nobody() { # command
    python -c 'import os, sys; os.setgroups([]); os.setgid(65534); os.setuid(65534); os.execvp(sys.argv[1], sys.argv[1:])' "$@"
}

echo "kernel: $(uname -v | sed -n 's/.*Debian \([0-9.]*\).*/\1/p')"
put "$(of_command_line set)"
case $(of_command_line setting) in
    model)
        mkswap /dev/vdb > /dev/null && swapon /dev/vdb
        cd tests && python -m support.kernel_history "$HISTORIES"
        ;;
    lib | contract) "target/$(of_command_line setting)" --test-threads 1 | grep -v '\.\.\. ok$' ;;
    machine*) cd tests && python -m support.exhaustion "$RUNS" machine ;;
    cgroup2) run_tests; cd tests && python -m support.exhaustion "$RUNS" ;;
    *) run_tests ;;
esac
echo "the end"
sync
poweroff -f
