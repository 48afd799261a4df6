from models.rfm import Rfm


def example(world, seed):
    return Rfm.learn(world.contacts)
