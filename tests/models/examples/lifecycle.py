from models.lifecycle import Lifecycle


def example(world, seed):
    return Lifecycle.learn(world.contacts, 1.0 - world.left)
