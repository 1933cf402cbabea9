"""Work side by side: threads that read ahead, processes that outlive a fault, and how many cores there are."""
