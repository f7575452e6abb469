"""Parts of the bench of images from registries."""
