from models.bgnbd import BgNbdChurn


def example(world, seed):
    return BgNbdChurn.learn(world.contacts)
