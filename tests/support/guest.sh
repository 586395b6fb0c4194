#!/bin/sh
# What a machine of .ci/kernels or .ci/arm64 does from its start to its end. The kernel's command line says what.
mount -t proc none /proc
mount -t sysfs none /sys
mount -t tmpfs none /run
mkdir -p /dev/shm /dev/pts
mount -t tmpfs -o mode=1777 none /dev/shm
mount -t devpts none /dev/pts
ln -sf /proc/self/fd /dev/fd
mount -t cgroup2 none /sys/fs/cgroup && echo +memory > /sys/fs/cgroup/cgroup.subtree_control
mount -t tracefs none /sys/kernel/tracing
ip link set lo up
export HOME=/tmp PYTHONDONTWRITEBYTECODE=1

of_command_line() { # name
    sed -n "s/.* $1=\([^ ]*\).*/\1/p" /proc/cmdline
}

file_of() { # name; a file below /proc/sys, or shmem_enabled
    case $1 in
        shmem_enabled) echo /sys/kernel/mm/transparent_hugepage/shmem_enabled ;;
        *) echo "/proc/sys/$1" ;;
    esac
}

set_to() { # file value; nothing where no file is named
    [ -z "$1" ] || echo "$2" > "$1" || echo "this kernel has no $1"
}

value_in() { # file; of several words, the one in brackets
    sed 's/.*\[\(.*\)\].*/\1/' "$1"
}

run_tests() { # user setting
    local tests
    case $2 in
        cgroup2 | user | python) tests=$(of_command_line tests) ;;
        objects) tests=tests/model/test_rmap_kernel.py ;;
        *) tests=$(of_command_line setting_tests) ;;
    esac
    set -- "$1" python -m pytest -q -rsfE --color=no -p no:cacheprovider $(echo "$tests" | tr , ' ')
    case $1 in
        root) shift && "$@" ;;
        *) shift && as_nobody "$@" ;;
    esac
}

as_nobody() { # command
    python -c 'import os, sys; os.setgroups([]); os.setgid(65534); os.setuid(65534); os.execvp(sys.argv[1], sys.argv[1:])' "$@"
}

run_setting() { # setting user
    case $1 in
        model)
            mkswap /dev/vdb > /dev/null && swapon /dev/vdb
            (cd tests && python -m support.kernel_history "$HISTORIES")
            swapoff /dev/vdb
            ;;
        lib | contract) "target/$1" --test-threads 1 --show-output | grep -vE '\.\.\. ok$|^    [a-z0-9_:]+$' ;;
        machine*) (cd tests && python -m support.exhaustion "$RUNS" machine) ;;
        cgroup2 | always) run_tests "$2" "$1"; (cd tests && python -m support.exhaustion "$RUNS") ;;
        *) run_tests "$2" "$1" ;;
    esac
}

kernel() { # the version that Debian's or Ubuntu's is built from
    if [ -e /proc/version_signature ]; then sed 's/.* //' /proc/version_signature; else uname -v | sed -n 's/.*Debian \([0-9.]*\).*/\1/p'; fi
}

echo "kernel: $(kernel)"
for setting in $(of_command_line settings | tr , ' '); do
    IFS=: read -r name who set << END
$setting
END
    echo "setting: $name"
    file=${set:+$(file_of "${set%%=*}")}
    before=${file:+$(value_in "$file")}
    set_to "$file" "${set#*=}"
    run_setting "$name" "$who"
    set_to "$file" "$before"
    echo "the end of $name"
done
sync
poweroff -f
