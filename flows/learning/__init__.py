"""The parts of retraining: data drops told of and watched for, faces found in films, the steps, the verdict."""
