"""The engines that run exported models, behind one interface; each is imported only when a file needs it."""
