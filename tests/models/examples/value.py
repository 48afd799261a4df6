from models.value import Value


def example(world, seed):
    return Value.learn(world.contacts)
