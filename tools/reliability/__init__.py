"""What becomes of runs of real daemons that are killed, frozen, cut off or kept short."""
