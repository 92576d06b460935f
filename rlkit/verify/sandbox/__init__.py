"""Where candidate programs run, and what keeps them there.

    judge: lease -> zygote_client -> running_job   one sandbox a thread, one job at a time; knows what is expected
      zygote               trusted, warm, enters a boundary: namespaces | landlocked (choose: the best that holds)
        job_process        one fork a job: limits, the boundary's seal, then
          harness          runs the candidate (the same file in the tier wasm)
    judge and job exchange frames through a mailbox: memory that both have mapped, as a job holds no descriptor but
    standard input, output and error

A job is one process that may have threads and start no others: so the kernel's limits on one process (address space,
CPU time, descriptors, the size of a file) are the limits of the whole job, and nothing has to be faster than a program
to hold it. Files in memory come on top: a job has at most memory_mb + disk_mb. The seccomp filter lets through what is
listed, and nothing else.

Not covered, in any tier: faults of the kernel itself, what can be learnt from timing, the share of CPU and memory
bandwidth that a job takes while it runs, and what a program may know of the machine (its kernel, processors, memory).
In the tier "landlock" also: whether a path exists and when it was changed; bytes and files on disk are counted a
hundred times a second and at the end rather than refused, so a fast writer gets some way past the bound before it is
ended, and files that are too many for less than that are not seen.
"""
