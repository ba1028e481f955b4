"""What a Keras file may name: the parts of networks of Keras 2 and 3, and arithmetic of TensorFlow.

Nothing else passes, so a layer that a later Keras adds is refused until it stands here. Left out on
purpose: layers that hold Python (`Lambda`, `DropoutWrapper`, `JaxLayer`, ...), that read other
files (`TFSMLayer`, vocabularies of `TextVectorization`, `StringLookup`, `IntegerLookup` and feature
columns), and functions that load, save, download, print or call others.
"""
# ruff: noqa: SIM905 - lists of a thousand names are read best as text.

LAYERS = frozenset(
    """
    AbstractRNNCell Activation ActivityRegularization AdaptiveAveragePooling1D
    AdaptiveAveragePooling2D AdaptiveAveragePooling3D AdaptiveMaxPooling1D AdaptiveMaxPooling2D
    AdaptiveMaxPooling3D Add AddLoss AdditiveAttention AlphaDropout Attention AugMix AutoContrast
    Average AveragePooling1D AveragePooling2D AveragePooling3D AvgPool1D AvgPool2D AvgPool3D
    BaseRandomLayer BatchNormalization BatchNormalizationBase BatchNormalizationV1
    BatchNormalizationV2 Bidirectional CategoryEncoding CenterCrop Concatenate
    ContrastLimitedAdaptiveHistogramEqualization Conv1D Conv1DTranspose Conv2D Conv2DTranspose
    Conv3D Conv3DTranspose ConvLSTM1D ConvLSTM2D ConvLSTM3D Convolution1D Convolution1DTranspose
    Convolution2D Convolution2DTranspose Convolution3D Convolution3DTranspose Cropping1D Cropping2D
    Cropping3D CuDNNGRU CuDNNLSTM CutMix Dense DepthwiseConv1D DepthwiseConv2D Discretization Dot
    Dropout ELU EinsumDense Embedding Equalization Flatten Functional GRU GRUCell GRUCellV1
    GRUCellV2 GRUV1 GRUV2 GaussianDropout GaussianNoise GlobalAveragePooling1D
    GlobalAveragePooling2D GlobalAveragePooling3D GlobalAvgPool1D GlobalAvgPool2D GlobalAvgPool3D
    GlobalMaxPool1D GlobalMaxPool2D GlobalMaxPool3D GlobalMaxPooling1D GlobalMaxPooling2D
    GlobalMaxPooling3D GroupNormalization GroupQueryAttention Identity InputLayer InputSpec LSTM
    LSTMCell LSTMCellV1 LSTMCellV2 LSTMV1 LSTMV2 LayerNormalization LeakyReLU LocallyConnected1D
    LocallyConnected2D Masking MaxNumBoundingBoxes MaxPool1D MaxPool2D MaxPool3D MaxPooling1D
    MaxPooling2D MaxPooling3D Maximum MelSpectrogram Minimum MixUp Model MultiHeadAttention Multiply
    Normalization PReLU Permute Pipeline RMSNormalization RNN RandAugment RandomBrightness
    RandomColorDegeneration RandomColorJitter RandomContrast RandomCrop RandomElasticTransform
    RandomErasing RandomFlip RandomGaussianBlur RandomGrayscale RandomHeight RandomHue RandomInvert
    RandomPerspective RandomPosterization RandomRotation RandomSaturation RandomSharpness
    RandomShear RandomTranslation RandomWidth RandomZoom ReLU RepeatVector Rescaling Reshape
    Resizing ReversibleEmbedding STFTSpectrogram SeparableConv1D SeparableConv2D
    SeparableConvolution1D SeparableConvolution2D Sequential SimpleRNN SimpleRNNCell Softmax
    Solarization SpatialDropout1D SpatialDropout2D SpatialDropout3D SpectralNormalization
    StackedRNNCells Subtract SyncBatchNormalization ThresholdedReLU TimeDistributed
    UnitNormalization UpSampling1D UpSampling2D UpSampling3D Wrapper ZeroPadding1D ZeroPadding2D
    ZeroPadding3D
    """.split()
)
OPERATIONS = frozenset(
    """
    Abs Absolute AdaptiveAveragePool AdaptiveMaxPool Add AffineTransform All AllClose Amax Amin
    Angle Any Append Arange Arccos Arccosh Arcsin Arcsinh Arctan Arctan2 Arctanh Argmax Argmin
    Argpartition Argsort Array ArraySplit Average AveragePool BatchNorm BinaryCrossentropy Bincount
    BitwiseAnd BitwiseInvert BitwiseLeftShift BitwiseNot BitwiseOr BitwiseRightShift BitwiseXor
    BroadcastTo CDist CTCDecode CTCLoss Cast CategoricalCrossentropy Cbrt Ceil Celu Cholesky
    CholeskyInverse Clip Concatenate Conj Conjugate Conv ConvTranspose ConvertToTensor Copy Corrcoef
    Correlate Cos Cosh CountNonzero CropImages Cross Cumprod Cumsum Deg2rad DepthToSpace
    DepthwiseConv Det Diag Diagflat Diagonal Diff Digitize Divide DivideNoNan Dot
    DotProductAttention Dsplit Dstack Eig Eigh Einsum ElasticTransform Elu EmptyLike Equal Erf Erfc
    Erfinv Exp Exp2 ExpandDims Expm1 ExtractPatches ExtractSequences FFT FFT2 Fabs Flip Fliplr
    Flipud Floor FloorDivide Fmax Fmin Fmod Fold Full FullLike GaussianBlur Gcd Gelu Geomspace
    GetItem Glu Greater GreaterEqual HSVToRGB HardShrink HardSigmoid HardSilu HardTanh Heaviside
    Histogram Hsplit Hstack Hypot I0 IFFT2 IRFFT ISTFT Imag InTopK Inner Inv IsIn Isclose Isfinite
    Isinf Isnan Isneginf Isposinf Isreal Kron LayerNorm Lcm Ldexp LeakyRelu LeftShift Less LessEqual
    Linspace Log Log10 Log1p Log2 LogSigmoid LogSoftmax Logaddexp Logaddexp2 Logdet LogicalAnd
    LogicalNot LogicalOr LogicalXor Logspace Logsumexp Lstsq LuFactor MapCoordinates Matmul
    MatrixRank Max MaxPool Maximum Mean Median Meshgrid Min Minimum Mod Moments Moveaxis MultiHot
    Multiply NanToNum Nanargmax Nanargmin Nancumprod Nancumsum Nanmax Nanmean Nanmedian Nanmin
    Nanpercentile Nanprod Nanquantile Nanstd Nansum Nanvar Ndim Negative Nextafter Nonzero Norm
    Normalize NotEqual OneHot OnesLike Outer PSNR Pad PadImages Percentile PerspectiveTransform Pinv
    Polar Power Prod Ptp Qr Quantile RFFT RGBToGrayscale RGBToHSV RMSNorm Rad2deg Ravel Real
    Rearrange Reciprocal Relu Relu6 Repeat Reshape Resize RightShift Roll Rot90 Round Rsqrt SSIM
    STFT SVD SaturateCast ScaleAndTranslate Scatter ScatterUpdate SearchSorted SegmentMax SegmentMin
    SegmentProd SegmentReduction SegmentSum Select Selu SeparableConv Sigmoid Sign Signbit Silu Sin
    Sinc Sinh Size Slice SliceUpdate Slogdet SobelEdges SoftShrink Softmax Softplus Softsign Solve
    SolveTriangular Sort SpaceToDepth SparseCategoricalCrossentropy SparsePlus SparseSigmoid
    Sparsemax Split Sqrt Square Squareplus Squeeze Stack Std StopGradient Subtract Sum Swapaxes Take
    TakeAlongAxis Tan Tanh TanhShrink Tensordot Threshold Tile TopK Trace Transpose Trapezoid Tril
    Triu TrueDivide Trunc Unfold Unique UnravelIndex Unstack Vander Var Vdot View ViewAsComplex
    ViewAsReal Vsplit Vstack Where ZerosLike
    """.split()
)
"""Keras 3's functions in a functional model; those that call another function are left out."""
OBJECTS = frozenset(
    """
    AWQDTypePolicy AbsMaxQuantizer Constant ConstantV2 Constraint DTypePolicy DTypePolicyMap
    Float8QuantizationConfig FloatDTypePolicy GPTQDTypePolicy GlorotNormal GlorotNormalV2
    GlorotUniform GlorotUniformV2 HeNormal HeNormalV2 HeUniform HeUniformV2 Identity
    IdentityInitializer IdentityV2 Initializer Int4DTypePolicy Int4QuantizationConfig
    Int8QuantizationConfig L1 L1L2 L2 LecunNormal LecunNormalV2 LecunUniform LecunUniformV2
    LossScaleOptimizer MaxNorm MinMaxNorm NonNeg Ones OnesV2 Orthogonal OrthogonalInitializer
    OrthogonalRegularizer OrthogonalV2 PReLU Policy PolicyV1 QuantizationConfig QuantizedDTypePolicy
    QuantizedFloat8DTypePolicy RadialConstraint RandomNormal RandomNormalV2 RandomUniform
    RandomUniformV2 Regularizer STFT STFTInitializer TruncatedNormal TruncatedNormalV2 UnitNorm
    VarianceScaling VarianceScalingV2 Zeros ZerosV2
    """.split()
)
"""Initializers, regularizers, constraints, dtypes and quantizers."""
TRAINING = frozenset(
    """
    AUC Accuracy Adadelta Adafactor Adagrad Adam AdamW Adamax BinaryAccuracy BinaryCrossentropy
    BinaryFocalCrossentropy BinaryIoU CTC CategoricalAccuracy CategoricalCrossentropy
    CategoricalFocalCrossentropy CategoricalGeneralizedCrossEntropy CategoricalHinge Circle
    ConcordanceCorrelation CosineSimilarity Dice F1Score FBetaScore FalseNegatives FalsePositives
    Ftrl Hinge Huber IoU KLDivergence Lamb Lion LogCosh LogCoshError Loss LossScaleOptimizer Mean
    MeanAbsoluteError MeanAbsolutePercentageError MeanIoU MeanMetricWrapper MeanSquaredError
    MeanSquaredLogarithmicError Metric MultiOptimizer Muon Nadam OneHotIoU OneHotMeanIoU Optimizer
    OptimizerMap PearsonCorrelation Poisson Precision PrecisionAtRecall R2Score RMSprop Recall
    RecallAtPrecision RootMeanSquaredError SGD ScheduleFreeAdamW SensitivityAtSpecificity
    SparseCategoricalAccuracy SparseCategoricalCrossentropy SparseTopKCategoricalAccuracy
    SpecificityAtSensitivity SquaredHinge Sum TopKCategoricalAccuracy TrueNegatives TruePositives
    Tversky
    """.split()
)
"""Of how an inner model was trained: losses, metrics and optimizers, which do nothing here."""
FUNCTIONS = frozenset(
    """
    binary_accuracy binary_crossentropy binary_focal_crossentropy categorical_accuracy
    categorical_crossentropy categorical_focal_crossentropy categorical_generalized_cross_entropy
    categorical_hinge celu circle concordance_correlation constant cosine_similarity ctc dice elu
    exponential gelu glorot_normal glorot_normalV2 glorot_uniform glorot_uniformV2 glu hard_shrink
    hard_sigmoid hard_silu hard_swish hard_tanh he_normal he_normalV2 he_uniform he_uniformV2 hinge
    huber identity initializer kl_divergence l1 l1_l2 l2 leaky_relu lecun_normal lecun_normalV2
    lecun_uniform lecun_uniformV2 linear log_cosh log_sigmoid log_softmax max_norm
    mean_absolute_error mean_absolute_percentage_error mean_squared_error
    mean_squared_logarithmic_error min_max_norm mish non_neg normal one ones orthogonal
    orthogonal_regularizer pearson_correlation poisson radial_constraint random_normal
    random_uniform relu relu6 selu sigmoid silu soft_shrink softmax softplus softsign
    sparse_categorical_accuracy sparse_categorical_crossentropy sparse_plus sparse_sigmoid
    sparse_top_k_categorical_accuracy sparsemax squared_hinge squareplus stft swish tanh tanh_shrink
    threshold top_k_categorical_accuracy truncated_normal tversky uniform unit_norm variance_scaling
    zero zeros
    """.split()
)
"""Activations, and the other spelling of initializers, regularizers, constraints and losses."""
RAGGED = frozenset(
    """
    RaggedTensor.from_nested_row_lengths RaggedTensor.from_nested_row_splits
    RaggedTensor.from_nested_value_rowids RaggedTensor.from_row_lengths RaggedTensor.from_row_limits
    RaggedTensor.from_row_splits RaggedTensor.from_row_starts RaggedTensor.from_sparse
    RaggedTensor.from_tensor RaggedTensor.from_uniform_row_length RaggedTensor.from_value_rowids
    """.split()
)
"""The class methods that Keras 2 makes `ClassMethod` layers of."""
MEMBERS = frozenset(
    """
    bounding_shape dense_shape flat_values indices merge_dims nested_row_lengths nested_row_splits
    nested_value_rowids nrows row_lengths row_limits row_splits row_starts to_sparse to_tensor
    value_rowids values with_flat_values with_row_splits_dtype with_values
    """.split()
)
"""The members of ragged and sparse tensors that Keras 2 makes layers of."""
DATA = frozenset(
    """
    DTypePolicy TensorShape __bytes__ __ellipsis__ __keras_tensor__ __numpy__ __slice__ __tensor__
    __tuple__
    """.split()
)
TENSORFLOW = frozenset(
    """
    __operators__.add __operators__.eq __operators__.getitem __operators__.ne
    __operators__.ragged_getitem abs acos acosh add add_n arg_max arg_min argmax argmin argsort asin
    asinh atan atan2 atanh batch_matmul batch_to_space bitcast bitwise.bitwise_and
    bitwise.bitwise_or bitwise.bitwise_xor bitwise.invert bitwise.left_shift bitwise.right_shift
    boolean_mask broadcast_dynamic_shape broadcast_static_shape broadcast_to cast ceil
    clip_by_global_norm clip_by_norm clip_by_value complex concat constant convert_to_tensor cos
    cosh count_nonzero cumsum depth_to_space diag div div_no_nan divide dynamic_partition
    dynamic_stitch edit_distance eig eigvals einsum ensure_shape equal erf exp expand_dims
    extract_image_patches extract_volume_patches eye fill fingerprint floor floordiv floormod gather
    gather_nd gelu greater greater_equal guarantee_const histogram_fixed_width identity identity_n
    image.adjust_brightness image.adjust_contrast image.adjust_gamma image.adjust_hue
    image.adjust_saturation image.central_crop image.combined_non_max_suppression
    image.convert_image_dtype image.crop_and_resize image.crop_to_bounding_box image.extract_glimpse
    image.extract_patches image.flip_left_right image.flip_up_down
    image.generate_bounding_box_proposals image.grayscale_to_rgb image.hsv_to_rgb
    image.image_gradients image.non_max_suppression image.non_max_suppression_overlaps
    image.non_max_suppression_padded image.non_max_suppression_with_scores image.pad_to_bounding_box
    image.per_image_standardization image.psnr image.random_brightness image.random_contrast
    image.random_crop image.random_flip_left_right image.random_flip_up_down image.random_hue
    image.random_saturation image.resize image.resize_area image.resize_bicubic
    image.resize_bilinear image.resize_images image.resize_nearest_neighbor
    image.resize_with_crop_or_pad image.resize_with_pad image.rgb_to_grayscale image.rgb_to_hsv
    image.rgb_to_yiq image.rgb_to_yuv image.rot90 image.sample_distorted_bounding_box
    image.sobel_edges image.ssim image.ssim_multiscale image.stateless_random_brightness
    image.stateless_random_contrast image.stateless_random_crop
    image.stateless_random_flip_left_right image.stateless_random_flip_up_down
    image.stateless_random_hue image.stateless_random_saturation
    image.stateless_sample_distorted_bounding_box image.total_variation image.transpose
    image.yiq_to_rgb image.yuv_to_rgb is_finite is_inf is_nan keras.activations.elu
    keras.activations.exponential keras.activations.gelu keras.activations.hard_sigmoid
    keras.activations.linear keras.activations.mish keras.activations.relu keras.activations.selu
    keras.activations.sigmoid keras.activations.softmax keras.activations.softplus
    keras.activations.softsign keras.activations.swish keras.activations.tanh keras.backend.abs
    keras.backend.all keras.backend.any keras.backend.arange keras.backend.argmax
    keras.backend.argmin keras.backend.batch_dot keras.backend.batch_flatten
    keras.backend.batch_normalization keras.backend.bias_add keras.backend.cast keras.backend.clip
    keras.backend.concatenate keras.backend.constant keras.backend.conv1d keras.backend.conv2d
    keras.backend.conv2d_transpose keras.backend.conv3d keras.backend.cos keras.backend.cumprod
    keras.backend.cumsum keras.backend.depthwise_conv2d keras.backend.dot keras.backend.elu
    keras.backend.equal keras.backend.exp keras.backend.expand_dims keras.backend.eye
    keras.backend.flatten keras.backend.gather keras.backend.greater keras.backend.greater_equal
    keras.backend.hard_sigmoid keras.backend.l2_normalize keras.backend.less
    keras.backend.less_equal keras.backend.log keras.backend.max keras.backend.maximum
    keras.backend.mean keras.backend.min keras.backend.minimum keras.backend.not_equal
    keras.backend.one_hot keras.backend.ones keras.backend.ones_like
    keras.backend.permute_dimensions keras.backend.pool2d keras.backend.pool3d keras.backend.pow
    keras.backend.prod keras.backend.relu keras.backend.repeat keras.backend.repeat_elements
    keras.backend.reshape keras.backend.resize_images keras.backend.resize_volumes
    keras.backend.reverse keras.backend.round keras.backend.separable_conv2d keras.backend.shape
    keras.backend.sigmoid keras.backend.sign keras.backend.sin keras.backend.softmax
    keras.backend.softplus keras.backend.softsign keras.backend.spatial_2d_padding
    keras.backend.spatial_3d_padding keras.backend.sqrt keras.backend.square keras.backend.squeeze
    keras.backend.stack keras.backend.std keras.backend.stop_gradient keras.backend.sum
    keras.backend.tanh keras.backend.temporal_padding keras.backend.tile keras.backend.transpose
    keras.backend.var keras.backend.zeros keras.backend.zeros_like less less_equal linalg.adjoint
    linalg.band_part linalg.banded_triangular_solve linalg.cholesky linalg.cholesky_solve
    linalg.cross linalg.det linalg.diag linalg.diag_part linalg.eig linalg.eigh
    linalg.eigh_tridiagonal linalg.eigvals linalg.eigvalsh linalg.einsum linalg.expm linalg.eye
    linalg.global_norm linalg.inv linalg.l2_normalize linalg.logdet linalg.logm linalg.lstsq
    linalg.lu linalg.lu_matrix_inverse linalg.lu_reconstruct linalg.lu_solve linalg.matmul
    linalg.matrix_rank linalg.matrix_transpose linalg.matvec linalg.norm linalg.normalize
    linalg.pinv linalg.qr linalg.set_diag linalg.slogdet linalg.solve linalg.sqrtm linalg.svd
    linalg.tensor_diag linalg.tensor_diag_part linalg.tensordot linalg.trace linalg.triangular_solve
    linalg.tridiagonal_matmul linalg.tridiagonal_solve linspace log log_sigmoid logical_and
    logical_not logical_or math.abs math.accumulate_n math.acos math.acosh math.add math.add_n
    math.angle math.approx_max_k math.approx_min_k math.argmax math.argmin math.asin math.asinh
    math.atan math.atan2 math.atanh math.bessel_i0 math.bessel_i0e math.bessel_i1 math.bessel_i1e
    math.betainc math.bincount math.ceil math.confusion_matrix math.conj math.cos math.cosh
    math.count_nonzero math.cumprod math.cumsum math.cumulative_logsumexp math.digamma math.divide
    math.divide_no_nan math.equal math.erf math.erfc math.erfcinv math.erfinv math.exp math.expm1
    math.floor math.floordiv math.floormod math.greater math.greater_equal math.igamma math.igammac
    math.imag math.in_top_k math.invert_permutation math.is_finite math.is_inf math.is_nan
    math.is_non_decreasing math.is_strictly_increasing math.l2_normalize math.lbeta math.less
    math.less_equal math.lgamma math.log math.log1p math.log_sigmoid math.log_softmax
    math.logical_and math.logical_not math.logical_or math.logical_xor math.maximum math.minimum
    math.mod math.multiply math.multiply_no_nan math.ndtri math.negative math.nextafter
    math.not_equal math.polygamma math.polyval math.pow math.real math.reciprocal
    math.reciprocal_no_nan math.reduce_all math.reduce_any math.reduce_euclidean_norm
    math.reduce_logsumexp math.reduce_max math.reduce_mean math.reduce_min math.reduce_prod
    math.reduce_std math.reduce_sum math.reduce_variance math.rint math.round math.rsqrt
    math.scalar_mul math.segment_max math.segment_mean math.segment_min math.segment_prod
    math.segment_sum math.sigmoid math.sign math.sin math.sinh math.sobol_sample math.softmax
    math.softplus math.softsign math.special.bessel_i0 math.special.bessel_i0e
    math.special.bessel_i1 math.special.bessel_i1e math.special.bessel_j0 math.special.bessel_j1
    math.special.bessel_k0 math.special.bessel_k0e math.special.bessel_k1 math.special.bessel_k1e
    math.special.bessel_y0 math.special.bessel_y1 math.special.dawsn math.special.expint
    math.special.fresnel_cos math.special.fresnel_sin math.special.spence math.sqrt math.square
    math.squared_difference math.subtract math.tan math.tanh math.top_k math.truediv
    math.unsorted_segment_max math.unsorted_segment_mean math.unsorted_segment_min
    math.unsorted_segment_prod math.unsorted_segment_sqrt_n math.unsorted_segment_sum math.xdivy
    math.xlog1py math.xlogy math.zero_fraction math.zeta matmul matrix_band_part matrix_diag
    matrix_square_root maximum meshgrid minimum mod multiply negative nn.approx_max_k
    nn.approx_min_k nn.atrous_conv2d nn.atrous_conv2d_transpose nn.avg_pool nn.avg_pool1d
    nn.avg_pool2d nn.avg_pool3d nn.batch_norm_with_global_normalization nn.batch_normalization
    nn.bias_add nn.collapse_repeated nn.compute_accidental_hits nn.compute_average_loss nn.conv1d
    nn.conv1d_transpose nn.conv2d nn.conv2d_transpose nn.conv3d nn.conv3d_transpose
    nn.conv_transpose nn.convolution nn.crelu nn.ctc_beam_search_decoder nn.ctc_greedy_decoder
    nn.ctc_loss nn.ctc_unique_labels nn.depth_to_space nn.depthwise_conv2d
    nn.depthwise_conv2d_backprop_filter nn.depthwise_conv2d_backprop_input nn.dilation2d nn.dropout
    nn.elu nn.embedding_lookup nn.embedding_lookup_sparse nn.erosion2d
    nn.experimental.general_dropout nn.experimental.stateless_dropout nn.fractional_avg_pool
    nn.fractional_max_pool nn.gelu nn.in_top_k nn.isotonic_regression nn.l2_loss nn.l2_normalize
    nn.leaky_relu nn.local_response_normalization nn.log_poisson_loss nn.log_softmax nn.lrn
    nn.max_pool nn.max_pool1d nn.max_pool2d nn.max_pool3d nn.max_pool_with_argmax nn.moments
    nn.normalize_moments nn.pool nn.relu nn.relu6 nn.safe_embedding_lookup_sparse
    nn.scale_regularization_loss nn.selu nn.separable_conv2d nn.sigmoid
    nn.sigmoid_cross_entropy_with_logits nn.silu nn.softmax nn.softmax_cross_entropy_with_logits
    nn.softplus nn.softsign nn.space_to_batch nn.space_to_depth
    nn.sparse_softmax_cross_entropy_with_logits nn.sufficient_statistics nn.swish nn.tanh nn.top_k
    nn.weighted_cross_entropy_with_logits nn.weighted_moments nn.with_space_to_batch
    nn.zero_fraction norm not_equal one_hot ones ones_like pad parallel_stack pow
    quantization.fake_quant_with_min_max_args quantization.fake_quant_with_min_max_vars
    quantization.fake_quant_with_min_max_vars_per_channel random.normal random.shuffle
    random.stateless_normal random.stateless_uniform random.truncated_normal random.uniform range
    rank real realdiv reciprocal reduce_all reduce_any reduce_logsumexp reduce_max reduce_mean
    reduce_min reduce_prod reduce_sum repeat reshape reverse reverse_sequence rint roll round rsqrt
    saturate_cast scalar_mul scatter_nd searchsorted sequence_mask shape shape_n sigmoid sign
    signal.dct signal.fft signal.fft2d signal.fft3d signal.fftnd signal.fftshift signal.frame
    signal.hamming_window signal.hann_window signal.idct signal.ifft signal.ifft2d signal.ifft3d
    signal.ifftnd signal.ifftshift signal.inverse_mdct signal.inverse_stft
    signal.inverse_stft_window_fn signal.irfft signal.irfft2d signal.irfft3d signal.irfftnd
    signal.kaiser_bessel_derived_window signal.kaiser_window signal.linear_to_mel_weight_matrix
    signal.mdct signal.mfccs_from_log_mel_spectrograms signal.overlap_and_add signal.rfft
    signal.rfft2d signal.rfft3d signal.rfftnd signal.stft signal.vorbis_window sin sinh size slice
    sort space_to_batch space_to_batch_nd space_to_depth split sqrt square squared_difference
    squeeze stack stop_gradient strided_slice subtract tan tanh tensor_scatter_nd_add
    tensor_scatter_nd_max tensor_scatter_nd_min tensor_scatter_nd_sub tensor_scatter_nd_update
    tensordot tile to_double to_float to_int32 to_int64 trace transpose truediv truncatediv
    truncatemod unique unique_with_counts unravel_index unstack where zeros zeros_like
    """.split()
)
"""What a `TFOpLambda` layer of Keras 2 may call, below `tf` or `tf.compat.v1`."""
