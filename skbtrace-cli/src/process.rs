//! This process: what it may have, what it gives back, and its going on in the background.

/// Allows as much locked memory as there is: before 5.11 maps count against it.
pub fn unlimit_locked_memory() {
    let unlimited = libc::rlimit {
        rlim_cur: libc::RLIM_INFINITY,
        rlim_max: libc::RLIM_INFINITY,
    };
    // SAFETY: a pointer to a whole rlimit. Failure is harmless: creating a map then says EPERM.
    unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const unlimited) };
}

/// Allows so many open files: more than this process may have by itself where it has the right
/// (`CAP_SYS_RESOURCE`), and else as many as it may have.
pub fn raise_open_files(needed: usize) {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: a pointer to a whole rlimit.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
        return;
    }
    let most = limit.rlim_max.max(needed as u64);
    for most in [most, limit.rlim_max] {
        limit.rlim_cur = most;
        limit.rlim_max = most;
        // SAFETY: a pointer to a whole rlimit. Failure is harmless: hooks that find no room say so.
        if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } == 0 {
            return;
        }
    }
}

/// Lets large pieces of memory come from the kernel one by one, and go back to it when they are no
/// longer needed. By itself the allocator keeps all that is no larger than what was once given back,
/// and for each thread apart.
pub fn keep_little_memory() {
    #[cfg(target_env = "gnu")]
    for (parameter, value) in [(libc::M_MMAP_THRESHOLD, 1 << 18), (libc::M_ARENA_MAX, 1)] {
        // SAFETY: takes numbers; nothing else has a say in these settings.
        unsafe { libc::mallopt(parameter, value) };
    }
}

/// Gives memory back that was needed for the start alone. The allocator keeps what it once had from
/// the kernel below what is still in use.
pub fn return_free_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes no pointer, and the allocator locks what it changes.
    unsafe {
        libc::malloc_trim(0)
    };
}

/// Goes on in a child process that has left the terminal and closed the standard streams, and
/// ends when `work` is done; the caller need not wait for it. What could not be forked is done
/// here.
pub fn in_background(work: impl FnOnce()) {
    // SAFETY: other threads are not in the child; what they may have locked is the allocator, which
    // libc puts right, and nothing that `work` needs.
    match unsafe { libc::fork() } {
        0 => {
            // SAFETY: takes no pointer.
            unsafe { libc::setsid() };
            // SAFETY: the path is a string.
            let null = unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR) };
            for stream in 0..3 {
                // SAFETY: takes descriptors by value.
                unsafe { libc::dup2(null, stream) };
            }
            work();
            // SAFETY: ends the child, without what the parent has registered for its own end.
            unsafe { libc::_exit(0) };
        }
        error if error < 0 => work(),
        _ => {}
    }
}
