"""The sounds of the demo corpus: 240 named concepts, each a generator function with its parameters.

Methods followed: K. Karplus, A. Strong, Digital synthesis of plucked-string and drum timbres, 1983 (strings);
J. Chowning, The synthesis of complex audio spectra by means of frequency modulation, 1973 (FM); D. Klatt, Software for
a cascade/parallel formant synthesizer, 1980 (throats); K. van den Doel, D. Pai, The sounds of physical shapes, 1998
(modal impacts); K. van den Doel, Physically based models for liquid sounds, 2005 (bubbles); P. Cook, Physically
informed sonic modeling (PhISM), 1997 (what is shaken, crushed or trodden on); A. Farnell, Designing Sound, 2010
(machines, weather, fire); N. Fletcher, T. Rossing, The Physics of Musical Instruments, 1998 (ratios of modes).
"""
