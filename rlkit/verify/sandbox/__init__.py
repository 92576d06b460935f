"""Where candidate programs run, isolated from the judge and the machine.

    judge: lease -> zygote_client -> running_job   one sandbox a thread, one job at a time; knows what is expected
      zygote               trusted and warm; enters a boundary: namespaces | landlocked (choose: the best that holds)
        job_process        one fork a job: sets limits, enters the boundary's innermost part, then
          harness          runs the candidate (the same file in the tier wasm)
    Judge and job exchange frames through a mailbox, memory that both have mapped, because a job holds no descriptor
    but standard input, output and error.

A job is one process that may have threads and cannot start other processes. So the kernel's limits on one process
(address space, CPU time, descriptors, the size of a file) are the limits of the whole job, and no supervisor has to be
faster than the program. Files in memory come on top: a job has at most memory_mb + disk_mb. The seccomp filter allows
the system calls that are listed, and no others.

Not covered, in any tier: faults of the kernel itself, what can be learnt from timing, the share of CPU and memory
bandwidth that a job takes while it runs, and what a program may know of the machine (its kernel, processors, memory).
In the tier "landlock" also: a program can learn whether a path exists and when it was changed. Bytes and files on disk
are counted there, a hundred times a second and at the end: a fast writer gets some way past the bound before it is
ended, and too many files that exist for less than a hundredth of a second are not seen.
"""
