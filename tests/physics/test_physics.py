"""Signal equations against closed forms, noise against its moments, tomography against the phantom it was made of."""

import numpy as np
import pytest

from medgan_lib.physics import ct, mr
from medgan_lib.physics.fields import SmoothField


def test_spin_echo_at_known_times():
    # TR = T1 ln 2 recovers one half, TE = T2 ln 2 keeps one half
    assert mr.spin_echo(0.8, 900.0, 80.0, tr=900 * np.log(2), te=80 * np.log(2)) == pytest.approx(0.2, rel=1e-12)
    # short TR: the first order of TR/T1 without cancellation
    assert mr.spin_echo(1.0, 1e9, 1e9, tr=1.0, te=0.0) == pytest.approx(1e-9, rel=1e-6)
    # (1 − e⁻¹) e^{−1/5} by hand
    assert mr.spin_echo(1.0, 500.0, 70.0, tr=500.0, te=14.0) == pytest.approx(0.6321205588 * 0.8187307531, rel=1e-9)


def test_inversion_recovery_follows_bloch():
    """Integrate dM/dt = (1 − M)/T1 through many repetitions of inversion, wait and excitation."""
    t1, tr, ti = 830.0, 2500.0, 700.0
    m = 1.0
    for _ in range(30):
        inverted = -m
        seen = 1 - (1 - inverted) * np.exp(-ti / t1)
        m = 1 - np.exp(-(tr - ti) / t1)  # the 90° pulse left nothing
    assert mr.inversion_recovery(1.0, t1, 80.0, tr=tr, te=0.0, ti=ti) == pytest.approx(seen, rel=1e-9)


@pytest.mark.parametrize("tr", [4000.0, 9000.0, 1e7])
@pytest.mark.parametrize("t1", [540.0, 4000.0])
def test_null_time_nulls(t1, tr):
    ti = mr.null_time(t1, tr)
    assert abs(mr.inversion_recovery(1.0, t1, 100.0, tr=tr, te=0.0, ti=ti)) < 1e-12
    if tr == 1e7:
        assert ti == pytest.approx(t1 * np.log(2))


def test_gradient_echo_peaks_at_the_ernst_angle_and_equals_saturation_recovery_at_90_degrees():
    t1, tr = 800.0, 50.0
    angles = np.linspace(1, 90, 8901)
    signal = [mr.gradient_echo(1.0, t1, 1e9, tr=tr, te=0.0, flip=angle) for angle in angles]
    assert angles[np.argmax(signal)] == pytest.approx(np.rad2deg(np.arccos(np.exp(-tr / t1))), abs=0.02)
    assert signal[-1] == pytest.approx(mr.spin_echo(1.0, t1, 1e9, tr=tr, te=0.0), rel=1e-9)


def test_rician_moments():
    rng = np.random.default_rng(0)
    sigma, count = 0.07, 400_000
    for signal in (0.0, 0.05, 0.5):
        m = mr.rician(np.full(count, signal), sigma, rng)
        assert np.mean(m**2) == pytest.approx(signal**2 + 2 * sigma**2, rel=0.01)
    background = mr.rician(np.zeros(count), sigma, rng)
    assert background.mean() == pytest.approx(sigma * np.sqrt(np.pi / 2), rel=0.01)
    assert background.var() == pytest.approx((2 - np.pi / 2) * sigma**2, rel=0.02)


def test_voxel_snr_is_that_of_an_acquisition():
    """Sample k-space of a uniform square line by line, each for the same time; the receiver's noise is white."""
    rng, found = np.random.default_rng(0), {}
    for size in (48, 96):
        area = (240 / size) ** 2  # mm² of a pixel
        signal = mr.to_kspace(np.ones((size, size))) * size * area  # integral of the object and the wave, in mm²
        bandwidth = size  # samples in the time that a line takes
        measured = signal + mr.complex_noise(signal.shape, 20 * np.sqrt(bandwidth), rng)
        image = mr.from_kspace(measured) / (size * area)
        assert image.mean().real == pytest.approx(1, abs=0.01)
        found[size] = 1 / image.real.std()
    assert found[48] / found[96] == pytest.approx(mr.voxel_snr(1.0, (5.0, 4.0), (2.5, 4.0)), rel=0.03)
    assert mr.voxel_snr(55.0, (2.0, 5.0), (2.0, 5.0)) == 55
    assert mr.voxel_snr(55.0, (2.0, 10.0), (2.0, 5.0)) == 110


def test_kspace_is_unitary_centred_and_inverts():
    rng = np.random.default_rng(0)
    image = mr.complex_noise((3, 24, 32), 1.0, rng)
    k = mr.to_kspace(image)
    assert np.allclose(mr.from_kspace(k), image)
    assert np.sum(abs(k) ** 2) == pytest.approx(np.sum(abs(image) ** 2))
    constant = abs(mr.to_kspace(np.ones((24, 32))))
    assert np.unravel_index(constant.argmax(), constant.shape) == (12, 16)
    assert constant.sum() == pytest.approx(constant.max())


@pytest.mark.parametrize(("size", "rate"), [(64, 1), (64, 2), (64, 3.7), (65, 4), (128, 8)])
def test_cartesian_mask_counts_lines_and_keeps_the_centre(size, rate):
    masks = np.array([mr.cartesian_mask(size, rate, np.random.default_rng(k)) for k in range(20)])
    assert (masks.sum(1) == round(size / rate)).all()
    core = round(0.08 * size)
    assert masks[:, size // 2 - core // 2 + 1 : size // 2 + core // 2].all()
    assert rate == 1 or len({mask.tobytes() for mask in masks}) > 10


@pytest.mark.parametrize("rate", [0, 0.5, -2, 40])
def test_cartesian_mask_refuses(rate):
    with pytest.raises(ValueError, match=r"give a rate from 1 to"):
        mr.cartesian_mask(64, rate, np.random.default_rng(0))


def test_smooth_field_has_the_stated_spread_and_correlation():
    x = np.arange(0.0, 40.0, 4.0)
    values = np.array(
        [SmoothField.draw(np.random.default_rng(k), sd=2.0, length=12.0).on_plane(x, x, 5.0) for k in range(1500)]
    )
    assert values.std() == pytest.approx(2.0, rel=0.05)
    assert abs(values.mean()) < 0.15
    apart = np.mean(values[:, 0, 0] * values[:, 0, 3]) / 4  # 12 mm: one correlation length
    assert apart == pytest.approx(np.exp(-0.5), abs=0.08)


def test_smooth_field_is_one_function_of_space():
    field = SmoothField.draw(np.random.default_rng(1), sd=1.0, length=20.0)
    x, y, z = 3.0, -7.5, 11.0
    there = np.sqrt(2 / len(field.phases)) * np.cos(field.waves @ [x, y, z] + field.phases).sum()
    assert field.on_plane(np.array([0.0, x]), np.array([y]), z)[0, 1] == pytest.approx(there, abs=1e-5)


def disc(size: int = 96, spacing: float = 2.5) -> np.ndarray:
    """Water cylinder of 150 mm with inserts; soft edges."""
    line = (np.arange(size) - size // 2) * spacing
    y, x = line[:, None], line[None]

    def inside(cx, cy, r):
        return np.clip((r - np.hypot(x - cx, y - cy)) / spacing + 0.5, 0, 1)

    hu = -1000 + 1000 * inside(0, 0, 75)
    hu += 60 * inside(30, 0, 15) - 100 * inside(-30, 0, 15) + 900 * inside(0, 35, 12)
    return hu


def test_hounsfield_scale():
    assert ct.hu_to_attenuation(np.array([-1000.0, 0.0, 1000.0])) == pytest.approx([0, ct.WATER, 2 * ct.WATER])
    assert ct.attenuation_to_hu(ct.hu_to_attenuation(np.array([-500.0, 37.0]))) == pytest.approx([-500, 37])
    assert ct.hu_to_attenuation(-1200.0) == 0
    assert ct.HU["csf"] < ct.HU["white"] < ct.HU["grey"] < ct.HU["muscle"] < ct.HU["marrow"] < ct.HU["bone"]


def test_projection_is_the_length_in_water():
    """Through the middle of 150 mm of water: 150 µ, at every angle; mass is the same in every view."""
    size, spacing = 96, 2.5
    line = (np.arange(size) - size // 2) * spacing
    water = -1000 + 1000 * np.clip((75 - np.hypot(line[:, None], line[None])) / spacing + 0.5, 0, 1)
    p = ct.project(water, spacing)
    assert p.shape == (size, len(ct.views(size)))
    assert p[size // 2] == pytest.approx(np.full(p.shape[1], 150 * ct.WATER), rel=0.02)
    assert p.sum(0) * spacing == pytest.approx(np.full(p.shape[1], np.pi * 75**2 * ct.WATER), rel=0.01)


def test_back_projection_recovers_the_inserts():
    hu = disc()
    back = ct.reconstruct(ct.project(hu, 2.5), 2.5)
    centre, step = 48, 2.5
    for x, y, expected in ((0, -30, 0), (30, 0, 60), (-30, 0, -100), (0, 35, 900)):
        row, column = centre + round(y / step), centre + round(x / step)
        found = back[row - 2 : row + 3, column - 2 : column + 3].mean()
        assert found == pytest.approx(expected, abs=0.01 * abs(expected) + 5), (x, y)
    assert back[4:8, 46:50].mean() == pytest.approx(-1000, abs=15)


def test_counts_have_poisson_spread():
    p = np.full(200_000, 3.0)
    measured = ct.measure(p, 1e5, np.random.default_rng(0))
    assert measured.mean() == pytest.approx(3.0, abs=1e-3)
    assert measured.std() == pytest.approx(1 / np.sqrt(1e5 * np.exp(-3)), rel=0.02)
    assert np.isfinite(ct.measure(np.full(100, 50.0), 10.0, np.random.default_rng(0))).all()


def test_noise_grows_as_one_over_root_dose():
    hu = disc()
    clean = ct.reconstruct(ct.project(hu, 2.5), 2.5)
    spread = {}
    for dose in (1.0, 0.25, 0.0625):
        noise = ct.scan(hu, 2.5, dose=dose, rng=np.random.default_rng(3)) - clean
        spread[dose] = noise[30:60, 30:60].std()
        assert abs(noise[30:60, 30:60].mean()) < 0.15 * spread[dose]
    assert spread[0.25] / spread[1.0] == pytest.approx(2, rel=0.08)
    assert spread[0.0625] / spread[1.0] == pytest.approx(4, rel=0.08)


def test_correlated_noise_has_the_spread_and_the_spectrum():
    images = np.array([ct.correlated_noise(64, 7.0, np.random.default_rng(k)) for k in range(60)])
    assert images.std() == pytest.approx(7.0, rel=0.02)
    power = (abs(np.fft.fft2(images)) ** 2).mean(0)
    assert power[0, 0] < 1e-9 * power.max()
    # rises with frequency, in proportion while the window is near one
    assert power[0, 8] / power[0, 4] == pytest.approx(2 * (np.cos(np.pi / 8) / np.cos(np.pi / 16)) ** 2, rel=0.5)


def test_tomography_refuses():
    with pytest.raises(ValueError, match="one square image"):
        ct.project(np.zeros((10, 12)), 1.0)
    with pytest.raises(ValueError, match="inside the circle"):
        ct.project(np.zeros((32, 32)), 1.0)
    for dose in (0, -1, float("nan")):
        with pytest.raises(ValueError, match="positive share"):
            ct.scan(disc(), 2.5, dose=dose, rng=np.random.default_rng(0))


def test_noise_of_ct_grows_as_brooks_and_di_chiro_say():
    assert ct.voxel_noise(5.0, (2.0, 5.0), (2.0, 5.0)) == 5.0
    assert ct.voxel_noise(5.0, (1.0, 5.0), (2.0, 5.0)) == pytest.approx(5 * 8**0.5)
    assert ct.voxel_noise(5.0, (2.0, 1.25), (2.0, 5.0)) == pytest.approx(10)
