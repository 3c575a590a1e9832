"""What `drivers.camera.pi_camera` names of libcamera's binding."""


class Transform:
    def __init__(self, **_flips: int) -> None:
        pass
