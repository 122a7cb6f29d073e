"""Reconstruction: from what a scanner measures, too little of it or with too much noise, to an image."""
