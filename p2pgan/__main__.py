"""`python -m p2pgan` is the command `p2pgan`."""

from p2pgan.cli.interrupts import ended_by_interrupt

with ended_by_interrupt():
    from p2pgan.cli.app import main

if __name__ == "__main__":
    main()
