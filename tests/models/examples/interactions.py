from models.interactions import Interactions


def example(world, seed):
    return Interactions()
